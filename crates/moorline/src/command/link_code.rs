//! A link as a QR code: on a terminal, and as a picture for a leaflet.

use anyhow::Context as _;
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};

/// A code.
pub struct Code(QrCode);

impl Code {
    /// The code of a link.
    ///
    /// # Errors
    /// It is longer than a code can be (2,953 bytes).
    pub fn of(link: &str) -> anyhow::Result<Self> {
        let code = QrCode::with_error_correction_level(link, EcLevel::M);
        Ok(Self(code.context("the link is too long for a code")?))
    }

    /// For a terminal, two rows a line. Most terminals are dark: what is printed is the light part.
    pub fn terminal(&self) -> String {
        let mut text = self
            .0
            .render::<unicode::Dense1x2>()
            .dark_color(unicode::Dense1x2::Light)
            .light_color(unicode::Dense1x2::Dark)
            .build();
        text.push('\n');
        text
    }

    /// As a picture.
    pub fn svg(&self) -> String {
        self.0
            .render::<svg::Color<'_>>()
            .min_dimensions(240, 240)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_becomes_a_square_that_fits_a_terminal() {
        let code = Code::of("https://cctv.example.com:8443/?claim=home/shop").unwrap();
        let text = code.terminal();
        let rows: Vec<&str> = text.lines().collect();
        let width = rows[0].chars().count();
        assert!(width <= 60, "{width} columns");
        assert!(rows.iter().all(|row| row.chars().count() == width));
        assert_eq!(rows.len(), width.div_ceil(2), "two rows a line");
        assert!(code.svg().contains("<svg"));
        assert!(Code::of(&"x".repeat(3_000)).is_err());
    }
}
