# A camera as GStreamer's own RTSP server makes one. Arguments: JSON with path, launch, elements and, optionally, user and password, and the
# codec whose pictures are to be told. Prints "PORT n" when it serves on 127.0.0.1; then "PICTURE crc" for each picture that it sends, and
# "FLUSH" where a seek of somebody makes its time start anew. Written for Debian 12's GStreamer 1.22.
import json
import re
import sys
import zlib

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

START_CODE = re.compile(b"\x00\x00\x01")


def slices(data):
    """The NAL units of an access unit in Annex B that carry picture."""
    starts = [match.end() for match in START_CODE.finditer(data)]
    for start, end in zip(starts, [start - 3 for start in starts[1:]] + [len(data)]):
        unit = data[start:end].rstrip(b"\x00")
        if options["tell"] == "h264" and unit and unit[0] & 0x1F in (1, 5):
            yield unit
        if options["tell"] == "h265" and unit and unit[0] >> 1 & 0x3F < 32:
            yield unit


def seen(pad, info):
    if info.type & Gst.PadProbeType.EVENT_FLUSH:
        if info.get_event().type == Gst.EventType.FLUSH_STOP:
            print("FLUSH", flush=True)
        return Gst.PadProbeReturn.OK
    buffer = info.get_buffer()
    crc = 0
    for unit in slices(buffer.extract_dup(0, buffer.get_size())):
        crc = zlib.crc32(unit, crc)
    print(f"PICTURE {crc:08x}", flush=True)
    return Gst.PadProbeReturn.OK


def tell(factory, media):
    payloader = media.get_element().get_by_name("pay0")
    kinds = Gst.PadProbeType.BUFFER | Gst.PadProbeType.EVENT_FLUSH
    payloader.get_static_pad("sink").add_probe(kinds, seen)


server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(options["launch"])
factory.set_shared(True)
if options.get("tell"):
    factory.connect("media-configure", tell)
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
