//! QR codes: of a text, and what is in a picture of one.

use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};
use rqrr::PreparedImage;

use super::picture::Pixels;

/// The modules of a code, by rows.
pub(in crate::cli) struct Code {
    /// How many there are in a row, and rows.
    pub(super) width: usize,
    dark: Vec<bool>,
}

impl Code {
    /// Outside of the code all is light.
    pub(super) fn is_dark(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.width && self.dark[y * self.width + x]
    }
}

/// Makes the code of a text, with as much redundancy as fits.
pub(in crate::cli) fn of(text: &str) -> Result<Code, String> {
    let made =
        [EcLevel::M, EcLevel::L].map(|level| QrCode::with_error_correction_level(text, level));
    let [better, smaller] = made;
    let code = better.or(smaller).map_err(|e| match e {
        QrError::DataTooLong => format!(
            "a link of {} bytes does not fit into a QR code, which holds 2953",
            text.len()
        ),
        other => other.to_string(),
    })?;
    Ok(Code {
        width: code.width(),
        dark: code
            .to_colors()
            .into_iter()
            .map(|c| c == Color::Dark)
            .collect(),
    })
}

/// What the codes in a picture say.
pub(super) fn read(pixels: &Pixels) -> Result<Vec<String>, String> {
    let mut image = PreparedImage::prepare_from_greyscale(pixels.width, pixels.height, |x, y| {
        pixels.luma[y * pixels.width + x]
    });
    let grids = image.detect_grids();
    if grids.is_empty() {
        return Err("there is no QR code in this picture".to_owned());
    }
    let texts = grids.iter().map(|grid| match grid.decode() {
        Ok((_, text)) => Ok(text),
        Err(e) => Err(format!("the QR code in this picture cannot be read: {e}")),
    });
    texts.collect()
}
