// The last key frame of a camera, decoded by the browser and drawn on a canvas.

import { cameraPath, Problem, send } from "./api.js";
import { canPlay, Sink } from "./sink.js";

const DECODE = 5000;

/** Draws the poster of a camera. Returns when the picture was taken (milliseconds), or `null` if there is none that can be shown. */
export async function drawPoster(canvas, id) {
  if (!canPlay) return null;
  let response;
  try {
    response = await send("GET", `${cameraPath(id)}/poster`);
  } catch (error) {
    if (error instanceof Problem && error.status !== 401) return null;
    throw error;
  }
  const wall = Number(response.headers.get("x-wall"));
  if (canvas.dataset.wall === String(wall)) return wall;
  const bytes = new Uint8Array(await response.arrayBuffer());
  const drawn = await draw(canvas, response.headers.get("content-type"), bytes, wall);
  if (drawn) canvas.dataset.wall = String(wall);
  return drawn ? wall : null;
}

function draw(canvas, mime, bytes, wall) {
  return new Promise((resolve) => {
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    const done = (drawn) => {
      clearTimeout(timer);
      sink.close();
      resolve(drawn);
    };
    const timer = setTimeout(() => done(false), DECODE);
    const sink = new Sink(video, { behind: Infinity, failed: () => done(false) });
    video.addEventListener("loadeddata", () => {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      done(true);
    }, { once: true });
    const split = initLength(bytes);
    sink.init(mime, bytes.subarray(0, split));
    sink.fragment(bytes.subarray(split), wall);
    sink.finish();
  });
}

/** Where `ftyp` and `moov` end. */
function initLength(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + 8 <= bytes.length) {
    const kind = view.getUint32(at + 4);
    const size = view.getUint32(at);
    if (size < 8) break;
    at += size;
    if (kind === 0x6d6f6f76) return at; // moov
  }
  return 0;
}
