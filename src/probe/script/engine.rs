//! QuickJS, with bounds, around one script.

use std::time::{Duration, Instant};

use rquickjs::context::EvalOptions;
use rquickjs::function::Rest;
use rquickjs::promise::MaybePromise;
use rquickjs::{Context, Ctx, Function, Runtime, Value};

use super::super::codec::{ProxyInfo, Scripted};
use super::{Order, Question};

/// Bytes of all that a script keeps at one time.
pub(super) const MEMORY: usize = 32 << 20;

/// Bytes of stack: calls some thousands deep.
const STACK: usize = 1 << 20;

/// What the thread of an engine has of it; the engine's own functions need a little more than they are told.
pub(super) const THREAD_STACK: usize = 4 * STACK;

/// What stands in a script's world before it does.
const PRELUDE: &str = include_str!("prelude.js");

/// What stands in front of a script that is asked for addresses.
const ADDRESSES: &str = include_str!("addresses.js");

/// What is run in the place of a script that is to know places and is empty.
const LOCATION: &str = include_str!("location.js");

/// The longest answer but that about a node.
const MAX_SAID: usize = 64 * 1024;

/// Runs a script; what it says, as JSON. `ask` is what it asks of the network, as JSON, and has for an answer what came and its body; `None` when
/// nothing did.
///
/// What is wrong with a script is its own affair: it has said nothing then.
pub(super) fn run(
    order: &Order,
    ask: impl Fn(String) -> Option<(String, String)> + 'static,
) -> String {
    let deadline = Instant::now() + Duration::from_millis(order.millis);
    let Ok(runtime) = Runtime::new() else {
        return String::new();
    };
    runtime.set_memory_limit(MEMORY);
    runtime.set_max_stack_size(STACK);
    runtime.set_interrupt_handler(Some(Box::new(move || Instant::now() >= deadline)));
    let Ok(context) = Context::full(&runtime) else {
        return String::new();
    };
    context.with(|ctx| {
        let said = within(&ctx, order, ask);
        // The exception would be found by whoever comes next.
        let _ = ctx.catch();
        bounded(said.unwrap_or_default(), &order.question)
    })
}

/// As much of an answer as is passed on.
fn bounded(said: String, question: &Question) -> String {
    match question {
        Question::Node => {
            let said: Scripted = serde_json::from_str(&said).unwrap_or_default();
            serde_json::to_string(&said.bounded()).unwrap_or_default()
        }
        _ if said.len() > MAX_SAID => String::new(),
        _ => said,
    }
}

fn within(
    ctx: &Ctx<'_>,
    order: &Order,
    ask: impl Fn(String) -> Option<(String, String)> + 'static,
) -> rquickjs::Result<String> {
    let answer = Function::new(ctx.clone(), move |asked: String| {
        ask(asked).map(|(head, body)| vec![head, body])
    })?;
    let ProxyInfo {
        name,
        address,
        kind,
    } = &order.proxy;
    let proxy = serde_json::json!({"Name": name, "Address": address, "Type": kind}).to_string();
    let prelude: Function<'_> = ctx.eval(PRELUDE)?;
    let written: Function<'_> = prelude.call((answer, proxy))?;
    let (mut content, mut arguments) = (&*order.content, Vec::new());
    let names: &[&str] = match &order.question {
        Question::Node => &["handler"],
        Question::Addresses => {
            ctx.eval_with_options::<(), _>(ADDRESSES, sloppy())?;
            &["ip_resolve", "ip_resolve_default"]
        }
        Question::Location(ip) => {
            if content.is_empty() {
                content = LOCATION;
            }
            arguments.push(rquickjs::String::from_str(ctx.clone(), ip)?.into_value());
            &["handler"]
        }
    };
    // A mistake outside of every function is passed over: functions are there before the first line runs.
    let _ = ctx.eval_with_options::<(), _>(content, sloppy());
    let _ = ctx.catch();
    let mut functions = names.iter().map(|name| {
        let found = ctx.eval_with_options::<Function<'_>, _>(*name, sloppy());
        // It is not there, or is no function.
        found.inspect_err(|_| drop(ctx.catch()))
    });
    let function = functions.find_map(Result::ok);
    let function = function.ok_or(rquickjs::Error::Unknown)?;
    let given: MaybePromise<'_> = function.call((Rest::<Value<'_>>(arguments),))?;
    let given: Value<'_> = given.finish()?;
    written.call((given, order.question != Question::Node))
}

/// As goja runs a script: not in strict mode.
fn sloppy() -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
