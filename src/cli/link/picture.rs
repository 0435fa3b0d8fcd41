//! Pictures of QR codes: PNG, SVG, and blocks of text.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Cursor, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};

use super::qr::Code;

/// A picture in shades of grey, 0 is black.
pub(super) struct Pixels {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) luma: Vec<u8>,
}

/// The light modules around a code, as the standard has it.
const QUIET: usize = 4;
/// The pixels of a module's side.
const SCALE: usize = 8;
/// The bytes that a picture may take while it is read: those of a screen with 8000 × 4000 pixels.
const MAX_BYTES: usize = 128 << 20;

/// Whether these bytes begin as a PNG picture does.
pub(super) fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

/// Reads a PNG picture.
pub(super) fn read(bytes: &[u8]) -> Result<Pixels, String> {
    let wrong = |e: png::DecodingError| format!("this PNG picture cannot be read: {e}");
    let limits = Limits { bytes: MAX_BYTES };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(wrong)?;
    let size = reader
        .output_buffer_size()
        .filter(|size| *size <= MAX_BYTES);
    let size = size.ok_or("this picture is too large")?;
    let mut buffer = vec![0; size];
    let info = reader.next_frame(&mut buffer).map_err(wrong)?;
    let luma = match info.color_type {
        ColorType::Grayscale => buffer,
        ColorType::GrayscaleAlpha => {
            of_pixels(&buffer, |[grey, alpha]: [u8; 2]| over_white(grey, alpha))
        }
        ColorType::Rgb => of_pixels(&buffer, |[r, g, b]: [u8; 3]| brightness(r, g, b)),
        ColorType::Rgba => of_pixels(&buffer, |[r, g, b, alpha]: [u8; 4]| {
            over_white(brightness(r, g, b), alpha)
        }),
        ColorType::Indexed => {
            return Err("this PNG picture has a palette that is not there".to_owned());
        }
    };
    let (width, height) = (info.width as usize, info.height as usize);
    if luma.len() < width * height {
        return Err("this PNG picture is cut off".to_owned());
    }
    Ok(Pixels {
        width,
        height,
        luma,
    })
}

fn of_pixels<const N: usize>(buffer: &[u8], luma: impl Fn([u8; N]) -> u8) -> Vec<u8> {
    let (pixels, _) = buffer.as_chunks::<N>();
    pixels.iter().map(|pixel| luma(*pixel)).collect()
}

fn brightness(r: u8, g: u8, b: u8) -> u8 {
    let sum = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    u8::try_from(sum / 1000).unwrap_or(u8::MAX)
}

fn over_white(grey: u8, alpha: u8) -> u8 {
    let (grey, alpha) = (u32::from(grey), u32::from(alpha));
    u8::try_from((grey * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
}

/// A PNG picture of a code.
pub(in crate::cli) fn png(code: &Code) -> Vec<u8> {
    let side = (code.width + 2 * QUIET) * SCALE;
    let mut luma = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            luma.push(if is_dark(code, x / SCALE, y / SCALE) {
                0
            } else {
                255
            });
        }
    }
    let mut out = Vec::new();
    let pixels = u32::try_from(side).expect("a code has at most 177 modules in a row");
    let mut encoder = Encoder::new(&mut out, pixels, pixels);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&luma))
        .expect("there are as many pixels as it was told, and memory takes them all");
    out
}

/// An SVG picture of a code.
pub(in crate::cli) fn svg(code: &Code) -> String {
    let side = code.width + 2 * QUIET;
    let mut dark = String::new();
    for y in 0..side {
        for x in 0..side {
            if is_dark(code, x, y) {
                let _ = write!(dark, "M{x} {y}h1v1h-1z");
            }
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\"{dark}\"/></svg>\n"
    )
}

/// Two rows in a line of text. What is light is drawn, for most terminals are dark.
pub(in crate::cli) fn terminal(code: &Code) -> String {
    let side = code.width + 2 * QUIET;
    let mut text = String::new();
    for y in (0..side).step_by(2) {
        for x in 0..side {
            // Behind the last row of an odd number nothing is drawn.
            let below = y + 1 == side || is_dark(code, x, y + 1);
            text.push(match (is_dark(code, x, y), below) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        text.push('\n');
    }
    text
}

/// Of the code with the light modules around it.
fn is_dark(code: &Code, x: usize, y: usize) -> bool {
    x >= QUIET && y >= QUIET && code.is_dark(x - QUIET, y - QUIET)
}

/// The file's name, with a number in front of its ending.
pub(super) fn numbered(path: &Path, number: Option<usize>) -> PathBuf {
    let Some(number) = number else {
        return path.to_owned();
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(ending) => format!("{stem}-{number}.{}", ending.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    path.with_file_name(name)
}

/// Writes a file that its owner alone may read: there is a password in it.
pub(in crate::cli) fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::qr;
    use super::*;

    #[test]
    fn a_picture_of_a_code_is_read_back() {
        for len in [1, 100, 500, 2000] {
            let link = format!("vless://{}", "0aZ~%3".repeat(len / 6 + 1));
            let code = qr::of(&link).unwrap();
            let pixels = read(&png(&code)).unwrap();
            assert_eq!(qr::read(pixels).unwrap(), [link]);
        }
        let text = "x".repeat(3000);
        assert_eq!(
            qr::of(&text).err().unwrap(),
            "a link of 3000 bytes does not fit into a QR code, which holds 2953"
        );
    }

    #[test]
    fn every_form_shows_the_same_modules() {
        let code = qr::of("trojan://p@a.example:443").unwrap();
        let side = code.width + 2 * QUIET;
        let text = terminal(&code);
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let svg = svg(&code);
        for y in 0..side {
            for (x, c) in lines[y / 2].iter().enumerate() {
                let dark = is_dark(&code, x, y);
                let drawn = if y % 2 == 0 { "█▀" } else { "█▄" };
                assert_eq!(drawn.contains(*c), !dark, "{x} {y}");
                assert_eq!(svg.contains(&format!("M{x} {y}h1v1h-1z")), dark);
            }
            assert_eq!(lines[y / 2].len(), side);
        }
    }

    #[test]
    fn a_picture_without_a_code_or_no_picture_is_said_to_be_so() {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 40, 40);
        encoder.set_color(ColorType::Rgba);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0; 40 * 40 * 4]).unwrap();
        writer.finish().unwrap();
        let pixels = read(&out).unwrap();
        assert!(
            pixels.luma.iter().all(|luma| *luma == 255),
            "nothing is white"
        );
        assert_eq!(
            qr::read(pixels).unwrap_err(),
            "there is no QR code in this picture"
        );
        assert!(read(&out[..50]).is_err());
        assert!(!is_png(b"vless://"));
    }

    #[test]
    fn several_files_are_numbered() {
        let name = |path: &str, n| numbered(Path::new(path), n).display().to_string();
        assert_eq!(name("a/links.png", None), "a/links.png");
        assert_eq!(name("a/links.png", Some(2)), "a/links-2.png");
        assert_eq!(name("links", Some(1)), "links-1");
    }
}
