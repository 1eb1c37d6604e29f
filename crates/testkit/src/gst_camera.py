# A camera as GStreamer's own RTSP server makes one. Arguments: JSON with path, launch and, optionally, user and password.
# Prints "PORT n" when it serves on 127.0.0.1. Written for Debian 12's GStreamer 1.22.
import json
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

Gst.init(None)
options = json.loads(sys.argv[1])
missing = [name for name in options["elements"] if Gst.ElementFactory.find(name) is None]
if missing:
    print("MISSING", " ".join(missing), flush=True)
    sys.exit(3)
print("VERSION", Gst.version_string().split()[-1], flush=True)

server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(options["launch"])
factory.set_shared(True)
if options.get("user"):
    auth = GstRtspServer.RTSPAuth.new()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(options["user"], options["password"], token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_role("viewer")
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory(options["path"], factory)
server.attach(None)
print("PORT", server.get_bound_port(), flush=True)
GLib.MainLoop().run()
