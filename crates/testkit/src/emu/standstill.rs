//! What tells why a camera stands still: asked of QEMU, of the kernel in it and of this machine, when a test gives it up.

use std::{fs, io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use crate::{child::Child, patience};

/// What QEMU is asked. The registers first and last: a processor that waits is where it was. `pic` and `irq` tell whether interrupts still come,
/// `blockstats` what the disks did.
const QUESTIONS: &[&str] = &[
    "info registers",
    "info status",
    "info pic",
    "info irq",
    "info blockstats",
    "info chardev",
    "info registers",
];
/// In each line of a register for floating point, which tell nothing.
const FLOATING: &str = "psu:";
/// What the kernel is asked, with SysRq on its keyboard: all that it says onto the console, who waits, what runs. The last is no order, and is
/// answered after all others.
const KEYS: &[&str] = &["9", "w", "l", "h"];
/// How the answer to the last key begins.
const LAST: &str = "sysrq: HELP";
/// Behind each answer of QEMU.
const PROMPT: &[u8] = b"(qemu) ";
/// How long QEMU, and then the kernel, has for all answers.
const ANSWERS: Duration = Duration::from_secs(10);
/// What the kernel of this machine tells of who waited for what.
const PRESSURE: &[&str] = &["cpu", "io", "memory"];

/// The answers, for whoever reads the failed test. `monitor`: the socket of QEMU's.
pub(super) async fn told(machine: &Child, monitor: &Path) -> String {
    let (before, mark) = (machine.lines().len(), machine.mark());
    let mut told = String::new();
    let asked = timeout(patience(ANSWERS), asked(monitor, &mut told)).await;
    match asked {
        Ok(Ok(())) => {
            let last = |line: &str| line.contains(LAST).then_some(());
            let answers = machine.wait_for_after(mark, "its kernel's answers", ANSWERS, last);
            if answers.await.is_err() {
                told.push_str("its kernel does not answer to the end\n");
            }
        }
        Ok(Err(error)) => told.push_str(&format!("QEMU's monitor: {error}\n")),
        Err(_) => told.push_str("QEMU's monitor does not answer\n"),
    }
    for line in machine.lines().iter().skip(before) {
        told.push_str(&format!("  | {line}\n"));
    }
    for what in PRESSURE {
        let pressure = fs::read_to_string(format!("/proc/pressure/{what}")).unwrap_or_default();
        for line in pressure.lines() {
            told.push_str(&format!("this machine's {what}: {line}\n"));
        }
    }
    told
}

async fn asked(monitor: &Path, told: &mut String) -> io::Result<()> {
    let mut monitor = UnixStream::connect(monitor).await?;
    until_prompt(&mut monitor).await?;
    for question in QUESTIONS {
        let answer = answer(&mut monitor, question).await?;
        told.push_str(&format!("{question}:\n"));
        let lines = answer.trim().lines();
        for line in lines.filter(|line| !line.contains(FLOATING)) {
            told.push_str(&format!("  {line}\n"));
        }
    }
    for key in KEYS {
        answer(&mut monitor, &format!("sendkey alt-sysrq-{key}")).await?;
    }
    Ok(())
}

/// What QEMU says to a line. It shows the line first, as on a terminal on which it is typed.
async fn answer(monitor: &mut UnixStream, question: &str) -> io::Result<String> {
    monitor
        .write_all(format!("{question}\n").as_bytes())
        .await?;
    let said = until_prompt(monitor).await?;
    let answer = said.split_once('\n').map_or("", |(_, answer)| answer);
    Ok(answer.replace('\r', ""))
}

async fn until_prompt(monitor: &mut UnixStream) -> io::Result<String> {
    let mut said: Vec<u8> = Vec::new();
    loop {
        if let Some(said) = said.strip_suffix(PROMPT) {
            return Ok(String::from_utf8_lossy(said).into_owned());
        }
        if monitor.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_what_stands_between_the_line_and_the_next_prompt() {
        let (mut ours, mut qemu) = UnixStream::pair().unwrap();
        let said = b"i\x1b[K\x1b[Dinfo pic\x1b[K\r\npic1: elcr=0c\r\npic0: elcr=00\r\n(qemu) ";
        qemu.write_all(said).await.unwrap();
        let answered = answer(&mut ours, "info pic").await.unwrap();
        assert_eq!(answered, "pic1: elcr=0c\npic0: elcr=00\n");
        drop(qemu);
        assert!(answer(&mut ours, "info pic").await.is_err());
    }

    #[tokio::test]
    async fn a_machine_that_cannot_be_asked_is_told_as_that() {
        let machine = Child::spawn("machine", tokio::process::Command::new("cat")).unwrap();
        let told = told(&machine, Path::new("/nonexistent/monitor")).await;
        assert!(told.starts_with("QEMU's monitor: "), "{told}");
    }
}
