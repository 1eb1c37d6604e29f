//! Logging: text on a terminal, JSON elsewhere, the level changeable at run time.
//!
//! Owns: the subscriber, the handle that changes its filter, and the way to standard error. Does not own: installing it; only the binaries call
//! [`init`] and [`init_server`]. Foreign text is wrapped in [`crate::Untrusted`] by whoever logs it (S33).
//!
//! | who | how | since |
//! |---|---|---|
//! | a command, [`init`] | whoever logs writes, and waits until it is written | it is soon over, and its words stand among those on standard output |
//! | a server, [`init_server`] | a thread writes (`queue`); what nobody reads for too long is lost and counted | a pipe that nobody reads must not stop what records |

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write as _};
use std::os::fd::AsFd as _;
use std::panic;
use std::sync::{LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing::Subscriber;
use tracing::span::Record;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::{FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::{EnvFilter, Registry};

use crate::untrusted::harmless_text;
use queue::Queue;

/// A process that ends gives whoever reads its log so long.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A thread that panics, so long: it may be the one that records.
const PANIC: Duration = Duration::from_millis(100);

/// Of a server.
static QUEUE: OnceLock<Queue> = OnceLock::new();
static LINES_LOST: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Always in force, after the operator's own directives: russh logs each packet that it cannot decrypt at a level that a stranger would
/// fill the disk with.
const ALWAYS: &str = "russh::server::encrypted=error";

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// A filter that cannot be read, or a logging that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directives are wrong.
    #[error("the log filter {filter:?} is not understood: {reason}")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A subscriber is installed already.
    #[error("logging is set up already")]
    Installed,
    /// The subscriber is gone.
    #[error("logging has ended")]
    Ended,
    /// There is no descriptor or no thread to be had.
    #[error("the log cannot be written")]
    Unwritable(#[source] io::Error),
}

impl LogError {
    /// What would be right.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            LogError::Filter { .. } => Some(
                "write a level (error, warn, info, debug, trace), or for example \"info,moorline_tunnel=debug\"",
            ),
            LogError::Installed | LogError::Ended | LogError::Unwritable(_) => None,
        }
    }
}

/// Changes the filter of the running process.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Puts a filter in force: a level, or directives such as `info,moorline_tunnel=debug`.
    ///
    /// # Errors
    /// [`LogError::Filter`]: the old one stays in force.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse(filter)?;
        self.filter.reload(filter).map_err(|_| LogError::Ended)
    }

    /// The filter in force.
    #[must_use]
    pub fn current(&self) -> String {
        self.filter
            .with_current(ToString::to_string)
            .unwrap_or_default()
    }
}

/// Whether a filter could be put in force.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter {
        filter: filter.to_owned(),
        reason,
    };
    if filter.trim().is_empty() {
        return Err(wrong("it is empty".into()));
    }
    // A single unknown word is read as a target by tracing: "inof" would silence everything but errors.
    let word = filter.trim();
    let level = word.parse::<tracing::level_filters::LevelFilter>();
    if level.is_err() && word.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(wrong("there is no such level".into()));
    }
    EnvFilter::builder()
        .parse(format!("{word},{ALWAYS}"))
        .map_err(|error| wrong(error.to_string()))
}

/// A subscriber that writes to `writer`, and the handle that changes its filter. `Format::Auto` means text when `terminal` is true.
///
/// # Errors
/// [`LogError::Filter`].
pub fn subscriber<W>(
    filter: &str,
    format: Format,
    terminal: bool,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogHandle), LogError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let registry = Registry::default().with(layer);
    let text = match format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(terminal && text)
        .fmt_fields(LatestFields);
    let subscriber: Box<dyn Subscriber + Send + Sync> = if text {
        Box::new(registry.with(lines))
    } else {
        // The fields of the spans around an event (camera, generation) stand in "spans".
        Box::new(registry.with(lines.json().flatten_event(true).with_current_span(false)))
    };
    Ok((subscriber, LogHandle { filter: handle }))
}

/// Fields of a span as text. A field that is recorded again (a generation) has its new value in the place of the old one, as in JSON; the
/// library would show both.
#[derive(Debug)]
struct LatestFields;

impl<'writer> FormatFields<'writer> for LatestFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        DefaultFields::new().format_fields(writer, fields)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        if !current.fields.is_empty() {
            current.fields.push(' ');
        }
        let begin = current.fields.len();
        DefaultFields::new().format_fields(current.as_writer(), fields)?;
        let (known, added) = current.fields.split_at_checked(begin).unwrap_or_default();
        let whole = replaced(known.trim_end(), added).filter(|_| fields.len() == 1);
        if let Some(whole) = whole {
            current.fields = whole;
        }
        Ok(())
    }
}

/// `camera=a generation=1` and `generation=2`: `camera=a generation=2`. `None` where the field is new, or its value is no single word.
fn replaced(known: &str, added: &str) -> Option<String> {
    // On a terminal the sign is dimmed, and ends with the sequence that undoes it.
    let value = match added.find("=\u{1b}[0m") {
        Some(sign) => sign + "=\u{1b}[0m".len(),
        None => added.find('=')? + 1,
    };
    let (name, value) = added.split_at_checked(value)?;
    let begin = known
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|at| *at == 0 || known.as_bytes().get(at - 1) == Some(&b' '))?;
    let old = known.get(begin + name.len()..)?;
    let rest = old
        .find(' ')
        .map_or("", |end| old.get(end..).unwrap_or_default());
    let single = !value.contains(' ') && !old.starts_with('"');
    single.then(|| format!("{}{added}{rest}", known.get(..begin).unwrap_or_default()))
}

/// Installs the logging of a command, straight to standard error. Only the binary calls it, once.
///
/// # Errors
/// [`LogError`]: a wrong filter, or a second call.
pub fn init(filter: &str, format: Format) -> Result<LogHandle, LogError> {
    let terminal = io::stderr().is_terminal();
    let (subscriber, handle) = subscriber(filter, format, terminal, io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    Ok(handle)
}

/// Installs the logging of a server, to standard error: whoever logs, or panics, does not wait for whoever reads. Only the binary calls it, once, and
/// [`finish`] at its end.
///
/// # Errors
/// [`LogError`]: a wrong filter, a second call, or a machine that has nothing left.
pub fn init_server(filter: &str, format: Format) -> Result<LogHandle, LogError> {
    let terminal = io::stderr().is_terminal();
    check(filter)?;
    // A descriptor of its own: the library's has a lock, which a write that stands still would keep from everybody.
    let out = io::stderr().as_fd().try_clone_to_owned();
    let out = File::from(out.map_err(LogError::Unwritable)?);
    let note = move |lost, stood| note(format, terminal, lost, stood);
    let queue = Queue::start(out, lines_lost(), note).map_err(LogError::Unwritable)?;
    let lines = queue.clone();
    let (subscriber, handle) = subscriber(filter, format, terminal, move || lines.clone())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    let _ = QUEUE.set(queue);
    tell_panics();
    Ok(handle)
}

/// Says something on standard error beside the log: of a server behind what it has logged, and without waiting. What could harm a terminal is escaped.
pub fn say(text: &str) {
    let line = format!("{}\n", harmless_text(text));
    match QUEUE.get() {
        Some(queue) => queue.push(line.as_bytes()),
        None => {
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
    }
}

/// Waits until what a server has logged and said is written, for a second at most: the last that its process does.
pub fn finish() {
    written_within(LAST_WORDS);
}

fn written_within(patience: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.is_written_within(patience);
    }
}

/// Lines of this process's log that are lost; 0 in a command.
pub(crate) fn lines_lost() -> Counter {
    LINES_LOST.clone()
}

/// What a panic says goes the way of the log: the library would write it itself, and wait with it.
fn tell_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = thread::current();
        let trace = Backtrace::capture();
        let mut told = format!("thread '{}' {panic}", thread.name().unwrap_or("unnamed"));
        if trace.status() == BacktraceStatus::Captured {
            told.push_str(&format!("\n{trace}"));
        }
        say(&told);
        // What follows may end the process without a word.
        written_within(PANIC);
    }));
}

/// The line that stands where lines are missing. It looks like its neighbours, and no filter keeps it out.
fn note(format: Format, terminal: bool, lost: u64, stood: Duration) -> Vec<u8> {
    let line = Queue::default();
    let writer = line.clone();
    if let Ok((subscriber, _)) = subscriber("warn", format, terminal, move || writer.clone()) {
        tracing::subscriber::with_default(subscriber, || {
            let stood = stood.as_secs();
            tracing::warn!("{lost} lines of the log were lost: nobody read it for {stood} s");
        });
    }
    line.taken()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
        }
    }

    fn logged(filter: &str, format: Format, work: impl FnOnce(&LogHandle)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let made = subscriber(filter, format, false, move || writer.clone());
        let (subscriber, handle) = made.expect("valid");
        tracing::subscriber::with_default(subscriber, || work(&handle));
        lines.text()
    }

    #[test]
    fn json_lines_carry_camera_and_generation_of_their_span() {
        let text = logged("info", Format::Auto, |_| {
            let span = tracing::info_span!("camera", camera = "acme/yard", generation = 41);
            span.in_scope(|| tracing::warn!(reason = "framing_lost", "take ended"));
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("one JSON line");
        assert_eq!(line["message"], "take ended");
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["reason"], "framing_lost");
        assert_eq!(line["spans"][0]["camera"], "acme/yard");
        assert_eq!(line["spans"][0]["generation"], 41);
    }

    #[test]
    fn a_field_that_is_recorded_again_has_its_new_value_alone() {
        for (format, terminal) in [
            (Format::Text, false),
            (Format::Text, true),
            (Format::Json, false),
        ] {
            let lines = Lines::default();
            let writer = lines.clone();
            let (subscriber, _) =
                subscriber("info", format, terminal, move || writer.clone()).expect("valid");
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("workload", generation = 1, role = "relay", old = 1);
                span.record("generation", tracing::field::display("second"));
                span.record("generation", tracing::field::display("third"));
                span.in_scope(|| tracing::info!("rebound"));
            });
            let text = lines.text();
            assert!(
                text.contains("third") && text.contains("relay") && text.contains("old"),
                "{text}"
            );
            assert!(!text.contains("second"), "{text}");
            assert_eq!(text.matches("generation").count(), 1, "{text}");
        }
    }

    #[test]
    fn the_level_changes_at_run_time_and_a_wrong_one_changes_nothing() {
        let text = logged("info", Format::Text, |handle| {
            tracing::debug!("not yet");
            handle.set("debug").expect("valid");
            tracing::debug!("now");
            let error = handle.set("inof").unwrap_err();
            assert_eq!(
                error.to_string(),
                "the log filter \"inof\" is not understood: there is no such level"
            );
            assert!(error.hint().is_some());
            assert!(handle.set("info,x=loud").is_err());
            assert!(handle.set(" ").is_err());
            tracing::debug!("still");
            assert!(handle.current().contains("debug"), "{}", handle.current());
        });
        assert!(!text.contains("not yet"), "{text}");
        assert!(text.contains("now") && text.contains("still"), "{text}");
    }

    #[test]
    fn the_note_of_lost_lines_looks_like_its_neighbours() {
        let stood = Duration::from_millis(75_200);
        let json = note(Format::Auto, false, 12, stood);
        let line: serde_json::Value = serde_json::from_slice(&json).expect("one JSON line");
        assert_eq!(
            line["message"],
            "12 lines of the log were lost: nobody read it for 75 s"
        );
        assert_eq!(line["level"], "WARN");
        assert_eq!(json.last(), Some(&b'\n'));
        let text = String::from_utf8(note(Format::Auto, true, 12, stood)).expect("UTF-8");
        assert!(text.contains("WARN") && text.contains("\u{1b}["), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn what_a_stranger_can_make_russh_log_stays_out_at_any_level() {
        let text = logged("trace", Format::Text, |_| {
            tracing::warn!(target: "russh::server::encrypted", "flood");
            tracing::error!(target: "russh::server::encrypted", "fault");
        });
        assert!(!text.contains("flood") && text.contains("fault"), "{text}");
    }
}
