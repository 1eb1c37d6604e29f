//! Writes the definitions of Camera, CameraClass and Tenant into a folder, for `cargo xtask generate`.

use std::path::PathBuf;
use std::process::ExitCode;

use moorline_base::files::{Access, write_atomic};

#[expect(clippy::print_stderr, reason = "a program's last word")]
fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("definitions FOLDER: writes the definitions of Moorline's resources there");
        return ExitCode::from(2);
    };
    let written = moorline_kube::resource::definitions().and_then(|all| {
        all.iter().try_for_each(|(name, text)| {
            let path = folder.join(name);
            let written = write_atomic(&path, text.as_bytes(), Access::Public);
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))
        })
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
