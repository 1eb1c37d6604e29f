// The HTTP API: JSON in and out, a refusal as an exception with what to do about it.

/** A refusal (`application/problem+json`), or a server that cannot be reached (`status` 0). */
export class Problem extends Error {
  constructor({ title, hint = null, status = 0, field = null }) {
    super(title);
    this.hint = hint;
    this.status = status;
    this.field = field;
  }
}

let skew = 0;

/** The server's clock, in milliseconds: what it says of a camera is compared with its own time, not with the reader's. */
export function serverNow() {
  return Date.now() + skew;
}

/** Sends a request; returns what the answer holds, or `null`. */
export async function call(method, path, body) {
  const response = await send(method, path, body);
  return response.status === 204 ? null : response.json();
}

/** Sends a request; returns the answer itself. */
export async function send(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(`/api/v1${path}`, options);
  } catch {
    throw new Problem({ title: "The server cannot be reached", hint: "trying again" });
  }
  const date = Date.parse(response.headers.get("date"));
  // The header counts whole seconds: half of one is its middle.
  if (!Number.isNaN(date) && Math.abs(date + 500 - serverNow()) > 1500) skew = date + 500 - Date.now();
  if (response.ok) return response;
  const told = await response.json().catch(() => ({ title: response.statusText }));
  throw new Problem({ ...told, status: response.status });
}

/** The path of a camera in the API; its id is `tenant/camera`. */
export function cameraPath(id) {
  const [tenant, name] = id.split("/");
  return `/tenants/${encodeURIComponent(tenant)}/cameras/${encodeURIComponent(name)}`;
}
