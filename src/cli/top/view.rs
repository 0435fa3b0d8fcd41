//! What of a state is shown, and how.

use std::cmp::Ordering;

use serde_json::Value;

use super::table::{Column, clean, lines, number, text};

/// A table of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Tunnels,
    Users,
    Inbounds,
    Outbounds,
    Errors,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rate,
    Down,
    Up,
    Age,
    Name,
}

impl View {
    pub(super) const ALL: [Self; 5] = [
        Self::Tunnels,
        Self::Users,
        Self::Inbounds,
        Self::Outbounds,
        Self::Errors,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tunnels => "Tunnels",
            Self::Users => "Users",
            Self::Inbounds => "Inbounds",
            Self::Outbounds => "Outbounds",
            Self::Errors => "Errors",
        }
    }

    fn rows(self, status: &Value) -> &[Value] {
        let list = match self {
            Self::Tunnels => &status["tunnels"]["list"],
            Self::Users => &status["users"],
            Self::Inbounds => &status["inbounds"],
            Self::Outbounds => &status["outbounds"],
            Self::Errors => &status["errors"],
        };
        list.as_array().map_or(&[], Vec::as_slice)
    }

    /// How many rows there are, those that are not told among them.
    pub(super) fn count(self, status: &Value) -> u64 {
        match self {
            Self::Tunnels => int(&status["tunnels"]["open"]),
            Self::Users => self.rows(status).len() as u64 + int(&status["users_more"]),
            _ => self.rows(status).len() as u64,
        }
    }

    fn columns(self) -> &'static [Column] {
        const TUNNELS: &[Column] = &[
            text("USER"),
            text("SOURCE"),
            text("TARGET"),
            text("IN"),
            text("OUT"),
            number("AGE"),
            number("UP"),
            number("DOWN"),
            number("RATE"),
        ];
        const USERS: &[Column] = &[
            text("USER"),
            number("TUNNELS"),
            number("UP"),
            number("DOWN"),
            number("RATE"),
        ];
        const INBOUNDS: &[Column] = &[
            text("INBOUND"),
            number("CONNECTIONS"),
            number("TUNNELS"),
            number("ACCEPTED"),
            number("REFUSED"),
            number("FALLBACK"),
            number("LEFT"),
            number("UP"),
            number("DOWN"),
            number("RATE"),
        ];
        const OUTBOUNDS: &[Column] = &[
            text("OUTBOUND"),
            number("TUNNELS"),
            number("MADE"),
            number("FAILED"),
            number("UP"),
            number("DOWN"),
            number("RATE"),
        ];
        match self {
            Self::Tunnels => TUNNELS,
            Self::Users => USERS,
            Self::Inbounds => INBOUNDS,
            Self::Outbounds => OUTBOUNDS,
            Self::Errors => &[],
        }
    }

    fn cells(self, row: &Value) -> Vec<String> {
        let traffic = [size(&row["up"]), size(&row["down"]), rate(sum(row))];
        let before = match self {
            Self::Tunnels => {
                let mut target = words(&row["target"]);
                if row["network"] == "udp" {
                    target += " (UDP)";
                }
                vec![
                    words(&row["user"]),
                    words(&row["source"]),
                    target,
                    words(&row["inbound"]),
                    words(&row["outbound"]),
                    span(int(&row["age"])),
                ]
            }
            Self::Users => vec![words(&row["user"]), words(&row["tunnels"])],
            Self::Inbounds => {
                let mut cells = vec![words(&row["name"]), words(&row["connections"])];
                cells.push(words(&row["tunnels"]));
                let outcomes = ["accepted", "refused", "fallback", "left"];
                cells.extend(outcomes.map(|one| words(&row["handshakes"][one])));
                cells
            }
            Self::Outbounds => {
                let connects = &row["connects"];
                let (made, failed) = (words(&connects["made"]), words(&connects["failed"]));
                vec![words(&row["name"]), words(&row["tunnels"]), made, failed]
            }
            Self::Errors => Vec::new(),
        };
        before.into_iter().chain(traffic).collect()
    }

    /// The lines of this table, headings first; of errors there are no headings.
    pub(super) fn lines(
        self,
        status: &Value,
        order: (Order, bool),
        width: Option<usize>,
    ) -> Vec<String> {
        if self == Self::Errors {
            return errors(status);
        }
        let mut rows: Vec<&Value> = self.rows(status).iter().collect();
        rows.sort_by(|a, b| self.compare(a, b, order));
        let cells: Vec<_> = rows.into_iter().map(|row| self.cells(row)).collect();
        lines(self.columns(), &cells, width)
    }

    fn compare(self, a: &Value, b: &Value, (order, is_turned): (Order, bool)) -> Ordering {
        let key = match order {
            Order::Down => "down",
            Order::Up => "up",
            Order::Age => "age",
            Order::Rate | Order::Name => "",
        };
        let name = |row: &Value| match self {
            Self::Tunnels | Self::Users => words(&row["user"]),
            _ => words(&row["name"]),
        };
        let by_name = || name(a).cmp(&name(b));
        let ordered = match order {
            Order::Name => by_name(),
            Order::Rate => sum(b).cmp(&sum(a)).then_with(by_name),
            _ => int(&b[key]).cmp(&int(&a[key])).then_with(by_name),
        };
        match is_turned {
            true => ordered.reverse(),
            false => ordered,
        }
    }
}

/// What is above the tables: who is asked, and the sums.
pub(super) fn summary(status: &Value, server: &str) -> [String; 2] {
    let mut about = format!("mobula {} at {server}", words(&status["version"]));
    if let Some(process) = status.get("process") {
        let up = int(&status["time"]).saturating_sub(int(&process["started"]));
        about += &format!(", up {}, {} of memory", span(up), size(&process["memory"]));
    }
    let outcome = |outcome: &str| {
        let all = View::Inbounds.rows(status).iter();
        all.map(|row| int(&row["handshakes"][outcome])).sum::<u64>()
    };
    let traffic = &status["traffic"];
    let sums = format!(
        "{} tunnels, {} sessions so far; down {}/s, up {}/s; {} handshakes accepted, {} refused",
        int(&status["tunnels"]["open"]),
        int(&status["sessions"]),
        size(&traffic["down_rate"]),
        size(&traffic["up_rate"]),
        outcome("accepted"),
        outcome("refused"),
    );
    [about, sums]
}

/// All of it, for whoever reads it once.
pub(super) fn whole(status: &Value, server: &str) -> Vec<String> {
    let mut all: Vec<String> = summary(status, server).into();
    for view in View::ALL {
        if view == View::Users && is_hidden(status, "users") {
            continue;
        }
        all.push(String::new());
        all.push(format!("{} ({})", view.name(), view.count(status)));
        let order = match view {
            View::Inbounds | View::Outbounds => Order::Name,
            _ => Order::Rate,
        };
        all.extend(view.lines(status, (order, false), None));
    }
    let more = int(&status["tunnels"]["more"]);
    if more > 0 {
        all.insert(2, format!("{more} tunnels are not listed"));
    }
    all
}

pub(super) fn is_hidden(status: &Value, what: &str) -> bool {
    let hidden = status["hidden"].as_array();
    hidden.is_some_and(|hidden| hidden.iter().any(|one| one == what))
}

/// Each in some lines: when, where and why, and what to do.
fn errors(status: &Value) -> Vec<String> {
    let now = int(&status["time"]);
    let mut all = Vec::new();
    for error in View::Errors.rows(status) {
        let mut line = match error["code"].as_str() {
            Some(code) => format!("[{}] ", clean(code)),
            None => String::new(),
        };
        line += &format!("{} ago", span(now.saturating_sub(int(&error["last"]))));
        if int(&error["count"]) > 1 {
            line += &format!(", {} times", int(&error["count"]));
        }
        for (key, word) in [("inbound", "at"), ("source", "from"), ("user", "by")] {
            if !error[key].is_null() {
                line += &format!(", {word} {}", words(&error[key]));
            }
        }
        all.push(line);
        all.push(format!("  {}", words(&error["text"])));
        if !error["cure"].is_null() {
            all.push(format!("  cure: {}", words(&error["cure"])));
        }
    }
    all
}

/// The last rates of a direction as bars, as many as there is room for.
pub(super) fn bars(status: &Value, direction: &str, room: usize) -> (String, u64) {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let rates = status["traffic"]["history"][direction].as_array();
    let rates: Vec<u64> = rates.into_iter().flatten().map(int).collect();
    let shown = &rates[rates.len().saturating_sub(room)..];
    let most = shown.iter().copied().max().unwrap_or(0);
    let bar = |rate: &u64| {
        let eighths = rate.saturating_mul(7).div_ceil(most.max(1));
        BARS[eighths.min(7) as usize]
    };
    (shown.iter().map(bar).collect(), most)
}

fn int(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn words(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => clean(text),
        other => clean(&other.to_string()),
    }
}

fn sum(row: &Value) -> u64 {
    int(&row["up_rate"]).saturating_add(int(&row["down_rate"]))
}

pub(super) fn rate(bytes: u64) -> String {
    size(&bytes.into()) + "/s"
}

fn size(bytes: &Value) -> String {
    let Some(bytes) = bytes.as_u64() else {
        return "-".to_owned();
    };
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];

fn span(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, _) => format!("{minutes} min {} s", secs % 60),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status() -> Value {
        let tunnel = |user: &str, down: u64, rate: u64| {
            json!({
                "user": user, "source": "192.0.2.1:1", "target": "a.example:443", "network": "tcp", "inbound": "front",
                "outbound": "direct", "age": 61, "up": 5, "down": down, "up_rate": 0, "down_rate": rate,
            })
        };
        let list = [
            tunnel("ann", 1_500_000, 10),
            tunnel("b\u{1b}[31mob", 2, 2000),
        ];
        json!({
            "time": 1000, "version": "0.1.0", "sessions": 7, "hidden": [],
            "tunnels": {"open": 5, "more": 3, "list": list},
            "traffic": {"up_rate": 0, "down_rate": 2010, "history": {"up": [], "down": [0, 50, 100]}},
            "users": [], "inbounds": [{"name": "front", "handshakes": {"accepted": 5, "refused": 1}}], "outbounds": [],
            "errors": [{"code": "user-unknown", "text": "no user", "cure": "compare the ids", "last": 990, "count": 2}],
        })
    }

    #[test]
    fn a_table_is_sorted_by_what_was_asked_for() {
        let first = |order| View::Tunnels.lines(&status(), order, None)[1].clone();
        assert!(first((Order::Rate, false)).contains("2.0 kB/s"));
        assert!(first((Order::Rate, true)).contains("10 B/s"));
        assert!(first((Order::Down, false)).contains("1.5 MB"));
        assert!(first((Order::Name, false)).starts_with("ann "));
    }

    #[test]
    fn the_whole_of_it_is_text() {
        let text = whole(&status(), "127.0.0.1:9191").join("\n");
        for said in [
            "mobula 0.1.0 at 127.0.0.1:9191",
            "5 tunnels, 7 sessions so far; down 2.0 kB/s, up 0 B/s; 5 handshakes accepted, 1 refused",
            "3 tunnels are not listed",
            "1 min 1 s",
            "[user-unknown] 10 s ago, 2 times\n  no user\n  cure: compare the ids",
        ] {
            assert!(text.contains(said), "{said} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn bars_are_as_high_as_the_highest() {
        assert_eq!(bars(&status(), "down", 10), ("▁▅█".to_owned(), 100));
        assert_eq!(bars(&status(), "down", 1), ("█".to_owned(), 100));
        assert_eq!(bars(&status(), "up", 10), (String::new(), 0));
    }
}
