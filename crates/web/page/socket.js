// Pictures over a WebSocket, as the server frames them: a text is JSON, a binary message has a head of 21 bytes and then MP4 boxes.

const HEAD = 21;

/**
 * What to say of a connection that never opened. WebKit opens no WebSocket to a certificate that was only clicked through, and says so nowhere.
 */
const UNTRUSTED =
  "no connection for pictures: this browser may refuse them while it does not trust the server's certificate. Install the certificate on this device, or have one set on the server (server.tls_certificate)";
/** So many that never opened, one after the other, are no accident of the network. */
const REFUSED = 2;
let refused = 0;

/** Why there is no connection, where that can be known. */
export function whyClosed() {
  return refused >= REFUSED && globalThis.ManagedMediaSource ? UNTRUSTED : "the connection was lost";
}

/**
 * Opens a stream of pictures. `on` has: `init(mime, bytes)`, `fragment(bytes, wall)`, and where they can come `gap(gap)`, `end()`,
 * `error(title)`; `closed()` always comes last, unless `close` was called.
 */
export function openPictures(path, on) {
  const socket = new WebSocket(`wss://${location.host}/api/v1${path}`);
  socket.binaryType = "arraybuffer";
  let mime = null;
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      const told = JSON.parse(data);
      if (told.init) mime = told.init;
      else if (told.gap) on.gap?.({ ...told.gap, from: Date.parse(told.gap.from), to: Date.parse(told.gap.to) });
      else if (told.end) on.end?.();
      else if (told.error) on.error?.(told.error);
      return;
    }
    if (data.byteLength < HEAD) return;
    const head = new DataView(data);
    const bytes = new Uint8Array(data, HEAD);
    if (head.getUint8(0) === 0) on.init(mime, bytes);
    else on.fragment(bytes, Number(head.getBigInt64(1)));
  };
  let opened = () => {};
  let isOpen = false;
  socket.onopen = () => {
    isOpen = true;
    refused = 0;
    opened();
  };
  socket.onclose = () => {
    if (!isOpen) refused += 1;
    on.closed();
  };
  return {
    /** Asks for that many more fragments. */
    want(count) {
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ want: count }));
    },
    onopen(action) {
      opened = action;
    },
    close() {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    },
  };
}
