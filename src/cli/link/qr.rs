//! QR codes: of a text, and what is in a picture of one.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

/// How long a picture is looked through: one that is all noise has more that might be a corner than can be tried.
const LIMIT: Duration = Duration::from_secs(10);

/// What the codes in a picture say.
pub(super) fn read(pixels: Pixels) -> Result<Vec<String>, String> {
    let (tell, told) = mpsc::channel();
    // Nothing ends it in the middle but the process, which does not wait for it.
    thread::spawn(move || tell.send(look_through(&pixels)));
    told.recv_timeout(LIMIT).unwrap_or_else(|_| {
        let secs = LIMIT.as_secs();
        Err(format!(
            "no QR code was found in this picture within {secs} s: cut out the part with the code"
        ))
    })
}

fn look_through(pixels: &Pixels) -> Result<Vec<String>, String> {
    let mut image = PreparedImage::prepare_from_greyscale(pixels.width, pixels.height, |x, y| {
        pixels.luma[y * pixels.width + x]
    });
    let grids = image.detect_grids();
    let (mut texts, mut failure) = (Vec::new(), None);
    // What only looks like a code must not cost those that are one.
    for grid in grids {
        match grid.decode() {
            Ok((_, text)) => texts.push(text),
            Err(e) => failure = Some(e),
        }
    }
    match (texts.is_empty(), failure) {
        (false, _) => Ok(texts),
        (true, None) => Err("there is no QR code in this picture".to_owned()),
        (true, Some(e)) => Err(format!("the QR code in this picture cannot be read: {e}")),
    }
}
