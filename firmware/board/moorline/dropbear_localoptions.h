/* Dropbear for a camera that only calls out. Not run on camera hardware yet: see firmware/HARDWARE.md. */

/* Keys only. With musl and without libcrypt the first is needed to link. */
#define DROPBEAR_SVR_PASSWORD_AUTH 0
#define DROPBEAR_CLI_PASSWORD_AUTH 0

/* Nothing that the agent does not use. DROPBEAR_RSA 0 would be wished for, but does not compile in 2022.83. */
#define DROPBEAR_X11FWD 0
#define DROPBEAR_CLI_PROXYCMD 0
#define DROPBEAR_CLI_NETCAT 0
#define DROPBEAR_DH_GROUP14_SHA1 0
#define DROPBEAR_DH_GROUP14_SHA256 0
