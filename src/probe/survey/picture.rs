//! A picture as a chat shows it: a row for each node, cells in colours, bars for each second of a download.

use std::fmt::Write;

use super::table::{rate, sum};
use super::widths::{columns, cut};
use super::{Row, Vantage};

/// The height of a row, and the width of a column of text, in pixels.
const ROW: usize = 34;
const COLUMN: usize = 9;
/// No name takes more columns.
const NAME: usize = 44;
/// The reasons of the dead.
const WHY: usize = 76;
/// Bars of a download.
const BARS: usize = 120;

/// Chinese and emoji of the usual systems.
const FONTS: &str = "'Noto Sans CJK SC','Noto Sans SC','Source Han Sans SC','PingFang SC','Microsoft YaHei','WenQuanYi Micro Hei','Noto Color Emoji','Apple Color Emoji','Segoe UI Emoji',sans-serif";

/// Draws vantage points below each other; `what` stands above them. Gives width and height, too.
pub fn svg(vantages: &[Vantage], what: &str) -> (String, usize, usize) {
    let names = vantages.iter().flat_map(|one| &one.rows);
    let longest = names
        .map(|row| columns(&cut(&row.info.name, NAME)))
        .max()
        .unwrap_or(4);
    let has_speed = vantages
        .iter()
        .flat_map(|one| &one.rows)
        .any(|row| row.speed.is_some());
    let layout = Layout::new(longest.max(8), has_speed);
    let mut body = String::new();
    let mut y = 0;
    let title = cut(what, layout.width / COLUMN);
    text(
        &mut body,
        layout.width / 2,
        y,
        "middle",
        "bold",
        "#222",
        &title,
    );
    y += ROW;
    for vantage in vantages {
        y = section(vantage, &layout, &mut body, y);
    }
    let width = layout.width;
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{y}\" viewBox=\"0 0 {width} {y}\" \
         font-family=\"{FONTS}\" font-size=\"16\">\n<rect width=\"{width}\" height=\"{y}\" fill=\"#fff\"/>\n{body}</svg>\n"
    );
    (svg, width, y)
}

/// Where columns begin.
struct Layout {
    name: usize,
    kind: usize,
    rtt: usize,
    http: usize,
    /// Average, best and bars, or the reasons of the dead alone.
    speed: Option<[usize; 3]>,
    width: usize,
}

impl Layout {
    fn new(name: usize, has_speed: bool) -> Self {
        let kind = 52 + name * COLUMN + 16;
        let rtt = kind + 12 * COLUMN;
        let http = rtt + 88;
        let rest = http + 88;
        let speed = has_speed.then_some([rest, rest + 108, rest + 216]);
        let measured = if has_speed {
            rest + 216 + BARS + 16
        } else {
            rest
        };
        let width = measured.max(rtt + WHY * COLUMN);
        Self {
            name: 52,
            kind,
            rtt,
            http,
            speed,
            width,
        }
    }
}

fn section(vantage: &Vantage, layout: &Layout, body: &mut String, mut y: usize) -> usize {
    rect(body, 0, y, layout.width, ROW, "#e9eef5");
    let name = cut(&vantage.name, NAME);
    text(body, 12, y, "start", "bold", "#223", &name);
    let sum = match &vantage.error {
        Some(error) => cut(error, WHY),
        None => sum(vantage),
    };
    text(body, layout.width - 12, y, "end", "normal", "#445", &sum);
    y += ROW;
    for (x, head) in [
        (12, "#"),
        (layout.name, "name"),
        (layout.kind, "type"),
        (layout.rtt, "rtt"),
        (layout.http, "http"),
    ] {
        text(body, x, y, "start", "normal", "#667", head);
    }
    if let Some([average, best, bars]) = layout.speed {
        for (x, head) in [(average, "speed"), (best, "best"), (bars, "each second")] {
            text(body, x, y, "start", "normal", "#667", head);
        }
    }
    y += ROW;
    let most = vantage
        .rows
        .iter()
        .flat_map(|row| &row.speeds)
        .copied()
        .max()
        .unwrap_or(1)
        .max(1);
    for (i, row) in vantage.rows.iter().enumerate() {
        line(i, row, layout, most, body, y);
        y += ROW;
    }
    y
}

fn line(i: usize, row: &Row, layout: &Layout, most: u64, body: &mut String, y: usize) {
    if i % 2 == 1 {
        rect(body, 0, y, layout.width, ROW, "#f7f9fb");
    }
    text(body, 12, y, "start", "normal", "#889", &(i + 1).to_string());
    text(
        body,
        layout.name,
        y,
        "start",
        "normal",
        "#111",
        &cut(&row.info.name, NAME),
    );
    text(
        body,
        layout.kind,
        y,
        "start",
        "normal",
        "#445",
        &row.info.kind,
    );
    let Some(rtt) = row.rtt else {
        let why = row.error.as_deref().unwrap_or("it does not answer");
        let room = (layout.width - layout.rtt) / COLUMN;
        return text(
            body,
            layout.rtt,
            y,
            "start",
            "normal",
            "#b3261e",
            &cut(why, room),
        );
    };
    for (x, ms) in [(layout.rtt, Some(rtt)), (layout.http, row.http)] {
        let Some(ms) = ms else { continue };
        rect(body, x - 6, y + 3, 82, ROW - 6, delay(ms));
        text(body, x, y, "start", "normal", "#111", &format!("{ms} ms"));
    }
    let Some([average, best, bars]) = layout.speed else {
        if let Some(error) = &row.error {
            text(
                body,
                layout.http + 88,
                y,
                "start",
                "normal",
                "#b3261e",
                &cut(error, WHY / 2),
            );
        }
        return;
    };
    for (x, speed) in [(average, row.speed), (best, row.speed_max)] {
        let Some(speed) = speed else { continue };
        rect(body, x - 6, y + 3, 102, ROW - 6, pace(speed));
        text(body, x, y, "start", "normal", "#111", &rate(speed));
    }
    let width = (BARS / row.speeds.len().max(1)).clamp(1, 16);
    for (n, speed) in row.speeds.iter().take(BARS).enumerate() {
        let room = u64::try_from(ROW - 8).unwrap_or(1);
        let height = usize::try_from(speed.saturating_mul(room) / most)
            .unwrap_or(1)
            .max(1);
        rect(
            body,
            bars + n * width,
            y + ROW - 4 - height,
            width.saturating_sub(1).max(1),
            height,
            "#4c8bf5",
        );
    }
}

/// The quicker, the greener.
fn delay(ms: u16) -> &'static str {
    match ms {
        ..50 => "#b7f0c1",
        50..100 => "#cdf5c4",
        100..200 => "#e3f7bd",
        200..300 => "#f6f5b5",
        300..500 => "#fbe3a8",
        500..1000 => "#fbcba0",
        _ => "#f7b0a1",
    }
}

/// The faster, the bluer.
fn pace(bytes: u64) -> &'static str {
    match bytes / 1_000_000 {
        0 => "#eef3fb",
        1..10 => "#dbe8fd",
        10..20 => "#c5dafc",
        20..50 => "#aecbfa",
        50..100 => "#98bcf8",
        _ => "#82adf6",
    }
}

fn rect(body: &mut String, x: usize, y: usize, width: usize, height: usize, fill: &str) {
    let _ = writeln!(
        body,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{fill}\"/>"
    );
}

fn text(body: &mut String, x: usize, y: usize, anchor: &str, weight: &str, fill: &str, text: &str) {
    let y = y + ROW * 2 / 3;
    let _ = writeln!(
        body,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" fill=\"{fill}\">{}</text>",
        escaped(text)
    );
}

/// What XML would take for its own, and without what may not stand in it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::codec::ProxyInfo;

    #[test]
    fn a_name_is_a_text_and_nothing_else() {
        let row = |name: &str, rtt| Row {
            info: ProxyInfo {
                name: name.to_owned(),
                ..ProxyInfo::default()
            },
            rtt,
            http: rtt,
            speed: rtt.map(|_| 5_000_000),
            speed_max: rtt.map(|_| 6_000_000),
            speeds: vec![0, 3_000_000, 6_000_000],
            ..Row::default()
        };
        let vantage = Vantage {
            name: "<a&b>".to_owned(),
            rows: vec![row("🇭🇰 香港 <script>\0", Some(30)), row("b", None)],
            ..Vantage::default()
        };
        let (svg, width, height) = svg(&[vantage], "what");
        assert!(
            svg.contains("🇭🇰 香港 &lt;script&gt;<") && svg.contains("&lt;a&amp;b&gt;"),
            "{svg}"
        );
        assert!(!svg.contains('\0') && svg.contains("it does not answer"));
        assert!(svg.contains(&format!("width=\"{width}\" height=\"{height}\"")));
        assert_eq!(height, 5 * ROW);
    }
}
