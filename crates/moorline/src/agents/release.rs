//! A release file: the line `UPGRADE …` of MOORLINE/1, LF, and the program. So it is offered as it was signed, and whoever holds the file sees
//! by its first line what it is.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use moorline_control::{Offer, ServerLine, Stamp};
use moorline_core::port::AgentRelease;
use sha2::{Digest as _, Sha512};

/// No agent is larger: agents refuse it.
pub const LARGEST: usize = 4_000_000;

/// What an unsigned release of this program is: version and target stand in the program itself.
///
/// # Errors
/// It is no agent, or too large.
pub fn unsigned(program: &[u8]) -> anyhow::Result<Offer> {
    ensure!(
        program.len() <= LARGEST,
        "{} bytes are more than an agent has ({LARGEST})",
        program.len()
    );
    let stamp = Stamp::find(program)
        .context("it is no moorline-agent: no stamp with its version and target is in it")?;
    Ok(Offer {
        target: stamp.target,
        version: stamp.version,
        bytes: u32::try_from(program.len())?,
        sha512: Sha512::digest(program).into(),
        signature: [0; 64],
    })
}

/// The release file.
pub fn write(offer: &Offer, program: &[u8]) -> Vec<u8> {
    let mut file = ServerLine::Upgrade(offer.clone()).to_string().into_bytes();
    file.push(b'\n');
    file.extend_from_slice(program);
    file
}

/// Reads a release file.
///
/// # Errors
/// Its first line and its program do not agree. The signature is the camera's to check.
pub fn read(file: &[u8]) -> anyhow::Result<AgentRelease> {
    let line_end = file.iter().take(1024).position(|byte| *byte == b'\n');
    let (line, rest) = file.split_at(line_end.context("it does not begin with a line UPGRADE")?);
    let program = rest.get(1..).unwrap_or_default();
    let offer = match ServerLine::parse(line) {
        Ok(ServerLine::Upgrade(offer)) => offer,
        Ok(_) => bail!("it does not begin with a line UPGRADE"),
        Err(field) => bail!("its first line is wrong at {field}"),
    };
    let own = unsigned(program)?;
    let agrees = Offer {
        signature: offer.signature,
        ..own
    };
    ensure!(
        agrees == offer,
        "its first line is not about the program in it"
    );
    Ok(AgentRelease {
        target: offer.target.to_string(),
        version: offer.version.to_string(),
        sha512: offer.sha512,
        signature: offer.signature,
        file: Arc::from(program),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Vec<u8> {
        b"\x7fELF moorline-agent-stamp 0.2.0 mipsel-unknown-linux-musl\nmore".to_vec()
    }

    #[test]
    fn it_reads_what_it_wrote_and_nothing_that_was_changed() {
        let file = write(&unsigned(&program()).unwrap(), &program());
        let release = read(&file).unwrap();
        assert_eq!(release.version, "0.2.0");
        assert_eq!(release.target, "mipsel-unknown-linux-musl");
        assert_eq!(release.file[..], program()[..]);
        for change in [
            [&file[..], b"x"].concat(),
            file[..file.len() - 1].to_vec(),
            String::from_utf8_lossy(&file)
                .replacen("0.2.0", "0.3.0", 1)
                .into_bytes(),
            program(),
            b"PING 1\n".to_vec(),
            Vec::new(),
        ] {
            assert!(read(&change).is_err());
        }
    }
}
