/*
 * linux-3.10 PROGRAM [ARGUMENT...]: runs it as a camera's kernel does, on the emulated camera's newer one: a seccomp filter answers ENOSYS to every
 * system call that came after Linux 3.10. What it starts has the filter, too. Flags of old calls that came later, and what an old kernel does
 * wrong, are not shown.
 *
 * For little-endian MIPS (o32) alone, without a C library and its headers: so it needs nothing but the compiler that links the agent.
 */

enum {
	/* Of o32 all begin at 4000; the last one of Linux 3.10 is finit_module. */
	NR_EXIT = 4001,
	NR_WRITE = 4004,
	NR_EXECVE = 4011,
	NR_PRCTL = 4192,
	NR_FINIT_MODULE = 4348,
	NR_GETRANDOM = 4353,
	PR_SET_SECCOMP = 22,
	SECCOMP_MODE_FILTER = 2,
	/* MIPS has numbers of its own here, too. */
	ENOSYS = 89
};

struct sock_filter {
	unsigned short code;
	unsigned char jt, jf;
	unsigned k;
};

struct sock_fprog {
	unsigned short len;
	const struct sock_filter *filter;
};

/* Of struct seccomp_data, the number stands at 0 and the architecture at 4. */
static const struct sock_filter filter[] = {
	{ 0x20, 0, 0, 4 },
	{ 0x15, 1, 0, 0x40000008 }, /* AUDIT_ARCH_MIPSEL, or killed */
	{ 0x06, 0, 0, 0 },
	{ 0x20, 0, 0, 0 },
	{ 0x25, 0, 1, NR_FINIT_MODULE },
	{ 0x06, 0, 0, 0x00050000 | ENOSYS },
	{ 0x06, 0, 0, 0x7fff0000 },
};

static const struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

/* Up to three arguments: more of them stand on the stack. Gives what was answered, or an error's number below zero. */
static long call(long number, long a, long b, long c)
{
	register long v0 __asm__("$2") = number;
	register long a0 __asm__("$4") = a;
	register long a1 __asm__("$5") = b;
	register long a2 __asm__("$6") = c;
	register long a3 __asm__("$7") = 0;

	__asm__ volatile("syscall"
			 : "+r"(v0), "+r"(a3)
			 : "r"(a0), "r"(a1), "r"(a2)
			 : "$1", "$3", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$24", "$25", "hi", "lo", "memory");
	return a3 ? -v0 : v0;
}

static void ends(const char *why, long length)
{
	call(NR_WRITE, 2, (long)why, length);
	call(NR_EXIT, 1, 0, 0);
}

#define ENDS(why) ends(why "\n", sizeof why)

/* The stack as the kernel hands it over: the count of arguments, the arguments, a null, the environment, a null. */
void begin(long *stack)
{
	char **arguments = (char **)(stack + 1);
	char **environment = arguments + stack[0] + 1;
	char random;

	if (stack[0] < 2)
		ENDS("usage: linux-3.10 PROGRAM [ARGUMENT...]");
	/* As root: without CAP_SYS_ADMIN it would want NO_NEW_PRIVS first. */
	if (call(NR_PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (long)&program) != 0)
		ENDS("linux-3.10: the kernel takes no filter");
	if (call(NR_GETRANDOM, (long)&random, 1, 0) != -ENOSYS)
		ENDS("linux-3.10: a call that came later is there");
	call(NR_EXECVE, (long)arguments[1], (long)(arguments + 1), (long)environment);
	ENDS("linux-3.10: cannot start the program");
}

__asm__(".text\n"
	".globl __start\n"
	"__start:\n"
	".set noreorder\n"
	"	move	$4, $29\n"
	"	li	$8, -8\n"
	"	and	$29, $29, $8\n"
	"	addiu	$29, $29, -32\n"
	"	jal	begin\n"
	"	nop\n"
	".set reorder\n");
