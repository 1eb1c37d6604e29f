// Reads as much of an MP4 as placing a fragment on a time line takes (ISO/IEC 14496-12): time scales, and when a fragment begins and ends.

/** Calls `visit(kind, body)` for each box in `view`. */
function walk(view, visit) {
  let at = 0;
  while (at + 8 <= view.byteLength) {
    let size = view.getUint32(at);
    let head = 8;
    if (size === 1 && at + 16 <= view.byteLength) {
      size = Number(view.getBigUint64(at + 8));
      head = 16;
    } else if (size === 0) {
      size = view.byteLength - at;
    }
    if (size < head || at + size > view.byteLength) return;
    const kind = String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5), view.getUint8(at + 6), view.getUint8(at + 7));
    visit(kind, new DataView(view.buffer, view.byteOffset + at + head, size - head));
    at += size;
  }
}

/** The track by which fragments are placed: the first with video, else the first; its `id`, `timescale` and default `duration`. */
export function readInit(bytes) {
  const tracks = [];
  const defaults = new Map();
  walk(viewOf(bytes), (kind, moov) => kind === "moov" && walk(moov, (kind, body) => {
    if (kind === "trak") tracks.push(readTrack(body));
    if (kind === "mvex") walk(body, (kind, trex) => kind === "trex" && defaults.set(trex.getUint32(4), trex.getUint32(12)));
  }));
  const track = tracks.find((track) => track.video) ?? tracks[0];
  if (!track || !track.timescale) throw new Error("no track in the stream");
  return { id: track.id, timescale: track.timescale, duration: defaults.get(track.id) ?? 0, audio: tracks.some((track) => track.sound) };
}

function readTrack(trak) {
  const track = { id: 0, timescale: 0, video: false, sound: false };
  walk(trak, (kind, body) => {
    if (kind === "tkhd") track.id = body.getUint32(body.getUint8(0) === 1 ? 20 : 12);
    if (kind === "mdia") walk(body, (kind, body) => {
      if (kind === "mdhd") track.timescale = body.getUint32(body.getUint8(0) === 1 ? 20 : 12);
      if (kind === "hdlr") {
        track.video = body.getUint32(8) === 0x76696465; // vide
        track.sound = body.getUint32(8) === 0x736f756e; // soun
      }
    });
  });
  return track;
}

/** Media time of the track in a fragment, in seconds: `start` and `end`; `null` if the track is not in it. */
export function readFragment(bytes, track) {
  let found = null;
  walk(viewOf(bytes), (kind, moof) => kind === "moof" && walk(moof, (kind, traf) => {
    if (kind === "traf" && !found) found = readRun(traf, track);
  }));
  return found;
}

function readRun(traf, track) {
  let [id, fallback, start, length] = [0, track.duration, 0, 0];
  walk(traf, (kind, body) => {
    const flags = body.getUint32(0) & 0xffffff;
    if (kind === "tfhd") {
      id = body.getUint32(4);
      const at = 8 + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0);
      if (flags & 8) fallback = body.getUint32(at);
    } else if (kind === "tfdt") {
      start = body.getUint8(0) === 1 ? Number(body.getBigUint64(4)) : body.getUint32(4);
    } else if (kind === "trun") {
      length += runLength(body, flags, fallback);
    }
  });
  return id === track.id ? { start: start / track.timescale, end: (start + length) / track.timescale } : null;
}

function runLength(trun, flags, fallback) {
  const count = trun.getUint32(4);
  if (!(flags & 0x100)) return count * fallback;
  const stride = [0x100, 0x200, 0x400, 0x800].filter((flag) => flags & flag).length * 4;
  let at = 8 + (flags & 1 ? 4 : 0) + (flags & 4 ? 4 : 0);
  let length = 0;
  for (let sample = 0; sample < count; sample += 1, at += stride) length += trun.getUint32(at);
  return length;
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
