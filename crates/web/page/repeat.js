// Work that is done again and again while somebody looks at the page.

/** Tells the page that something failed that nobody waits for. */
export function report(error) {
  dispatchEvent(new CustomEvent("moorline-problem", { detail: error }));
}

/** Runs `work` every `period` milliseconds, never twice at once, not while the page is hidden; `now` begins at once. Returns what ends it. */
export function repeat(work, period, now = false) {
  let [timer, stopped] = [null, false];
  const round = async () => {
    timer = null;
    if (!document.hidden) {
      try {
        await work();
      } catch (error) {
        report(error);
      }
    }
    if (!stopped) timer = setTimeout(round, period);
  };
  const wake = () => {
    if (document.hidden || stopped || timer === null) return;
    clearTimeout(timer);
    round();
  };
  document.addEventListener("visibilitychange", wake);
  timer = setTimeout(round, now ? 0 : period);
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  };
}
