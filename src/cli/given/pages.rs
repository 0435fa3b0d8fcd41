//! The pages that a text names: fetched once, whichever way each is meant to go.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::bytes_of_file;
use super::fetch::{Reach, answer, within};
use super::socket::Asked;
use crate::app::Outlets;
use crate::config::Config;
use crate::dialect::form::{self, Form, Outside, Page, Way};
use crate::report::Message;

/// For what is given itself.
const LIMIT: Duration = Duration::from_secs(30);

/// For each of the pages that a text names, which are fetched together.
const PAGE_LIMIT: Duration = Duration::from_secs(15);

/// More than a config names.
const MOST_PAGES: usize = 64;

/// Of each page that a stranger names: all are held at once.
pub(super) const LONGEST_OF_STRANGERS: u64 = 4 << 20;

type Fetched = Result<Vec<u8>, String>;

/// Fetches what stands there.
pub(super) fn fetch(url: &str) -> Fetched {
    let page = Page {
        url: url.to_owned(),
        headers: Vec::new(),
        way: Way::Straight,
    };
    let fetched = aside(async move { within(LIMIT, &page, Reach::Anywhere).await });
    fetched.unwrap_or_else(Err)
}

/// Asks a program of this machine.
pub(super) fn fetch_from(asked: &Asked) -> Fetched {
    let theirs = asked.clone();
    let fetched = aside(async move {
        let late = |_| Err(format!("no answer within {} s", LIMIT.as_secs()));
        timeout(LIMIT, answer(&theirs)).await.unwrap_or_else(late)
    });
    let fetched = fetched.unwrap_or_else(Err);
    fetched.map_err(|e| format!("{asked}: {e}"))
}

/// Reads a text with the files and pages that it names. What somebody else has written names no file, and no page that could be
/// in this network.
///
/// What is to be fetched by outbounds of the text itself is fetched by what is understood of it without these pages; then it is
/// read once more.
///
/// # Errors
///
/// As [`form::read_as`].
pub(in crate::cli) fn read(
    form: Form,
    text: &str,
    name: &str,
    is_remote: bool,
) -> Result<form::Read, Vec<Message>> {
    let pages = Pages {
        is_remote,
        found: RefCell::default(),
        waiting: RefCell::default(),
        asked: Cell::default(),
    };
    let first = pages.outside(true, |outside| form::read_as(form, text, name, outside));
    let waiting = pages.waiting.take();
    if waiting.is_empty() {
        return first;
    }
    match first {
        Ok(read) => pages.fetch_through(read.config, waiting),
        // Where nothing leads out yet, rules lead nowhere else either: mihomo's groups without members go straight there.
        Err(_) => {
            let (by_rules, by_names): (Vec<Page>, _) =
                waiting.into_iter().partition(|page| page.way == Way::Rules);
            pages.fetch_straight(by_rules);
            pages.fail(
                by_names,
                "it is not fetched: nothing here leads out without it",
            );
        }
    }
    pages.outside(false, |outside| form::read_as(form, text, name, outside))
}

struct Pages {
    is_remote: bool,
    found: RefCell<HashMap<Page, Fetched>>,
    /// What is fetched when the ways out are known.
    waiting: RefCell<Vec<Page>>,
    asked: Cell<usize>,
}

impl Pages {
    /// Calls `read` with how files and pages are read.
    fn outside<T>(&self, is_for_pages: bool, read: impl FnOnce(Outside<'_>) -> T) -> T {
        read(Outside {
            file: match self.is_remote {
                true => &|_| Err("what was fetched may name no file of this machine".to_owned()),
                false => &bytes_of_file,
            },
            web: &|pages| self.get(pages),
            is_for_pages,
        })
    }

    /// What stands at each place, if it has been fetched or can be fetched now.
    fn get(&self, pages: Vec<Page>) -> Vec<Fetched> {
        let mut straight = Vec::new();
        let mut seen = HashSet::new();
        for page in &pages {
            if self.found.borrow().contains_key(page) || !seen.insert(page) {
                continue;
            }
            self.asked.set(self.asked.get() + 1);
            if self.asked.get() > MOST_PAGES {
                let text = format!("no more than {MOST_PAGES} are fetched");
                self.found.borrow_mut().insert(page.clone(), Err(text));
            } else {
                match (&page.way, self.is_remote) {
                    (Way::Straight, _) | (Way::Rules, true) => straight.push(page.clone()),
                    // By whatever servers a stranger says, it could be asked for in this network.
                    (Way::By(_), true) => {
                        let text = "it is not fetched: what was fetched itself has nothing fetched by its own servers";
                        self.fail(vec![page.clone()], text);
                    }
                    (_, false) => self.waiting.borrow_mut().push(page.clone()),
                }
            }
        }
        self.fetch_straight(straight);
        let found = self.found.borrow();
        let later = || Err("it is fetched later".to_owned());
        let each = pages.iter().map(|page| found.get(page));
        each.map(|found| found.cloned().unwrap_or_else(later))
            .collect()
    }

    fn fetch_straight(&self, pages: Vec<Page>) {
        if pages.is_empty() {
            return;
        }
        let reach = match self.is_remote {
            true => Reach::Outside,
            false => Reach::Anywhere,
        };
        let asked = pages.clone();
        let fetched = aside(async move {
            let one = |page| async move { within(PAGE_LIMIT, page, reach).await };
            join_all(asked.iter().map(one)).await
        });
        self.keep(pages, fetched);
    }

    /// Fetches each by the way out that it is meant to go.
    fn fetch_through(&self, config: Config, pages: Vec<Page>) {
        let asked = pages.clone();
        let fetched = aside(async move {
            let rules = config.routing.rules.iter();
            let known = rules.flat_map(|rule| rule.conditions.inbounds.iter().cloned());
            let known: HashSet<String> = known.collect();
            let outlets = match Outlets::new(config) {
                Ok(outlets) => outlets,
                Err(e) => return vec![Err(e.to_string()); asked.len()],
            };
            let (known, outlets) = (&known, &outlets);
            let one = |page: Page| async move {
                let inbound = page.way.inbound().unwrap_or_default();
                if let Way::By(name) = &page.way
                    && !known.contains(&inbound)
                {
                    let name = name.escape_debug();
                    let at = form::shown(&page.url);
                    return Err(format!(
                        "{at}: it is not fetched: `{name}` is not carried over"
                    ));
                }
                within(PAGE_LIMIT, &page, Reach::Through(outlets, &inbound)).await
            };
            join_all(asked.into_iter().map(one)).await
        });
        self.keep(pages, fetched);
    }

    fn keep(&self, pages: Vec<Page>, fetched: Result<Vec<Fetched>, String>) {
        match fetched {
            Ok(fetched) => self
                .found
                .borrow_mut()
                .extend(pages.into_iter().zip(fetched)),
            Err(e) => self.fail(pages, &e),
        }
    }

    fn fail(&self, pages: Vec<Page>, text: &str) {
        let failed = pages.into_iter().map(|page| {
            let text = format!("{}: {text}", form::shown(&page.url));
            (page, Err(text))
        });
        self.found.borrow_mut().extend(failed);
    }
}

/// Runs what waits for others by a thread of its own, so that it may be called from anywhere.
fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, String> {
    let working = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("cannot start: {e}"))?;
        let done = runtime.block_on(work);
        // A look-up of a name that hangs is not waited for.
        runtime.shutdown_background();
        Ok(done)
    });
    working
        .join()
        .unwrap_or_else(|_| Err("it was given up".to_owned()))
}
