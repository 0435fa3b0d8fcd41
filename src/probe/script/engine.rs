//! QuickJS, with bounds, around one script.

use std::time::{Duration, Instant};

use rquickjs::context::EvalOptions;
use rquickjs::function::Rest;
use rquickjs::promise::MaybePromise;
use rquickjs::{Context, Ctx, Function, Runtime, Value};

use super::super::codec::{ProxyInfo, Scripted};
use super::Order;

/// Bytes of all that a script keeps at one time.
pub(super) const MEMORY: usize = 32 << 20;

/// Bytes of stack: calls some thousands deep.
const STACK: usize = 1 << 20;

/// What the thread of an engine has of it; the engine's own functions need a little more than they are told.
pub(super) const THREAD_STACK: usize = 4 * STACK;

/// What stands in a script's world before it does.
const PRELUDE: &str = include_str!("prelude.js");

/// Runs a script. `ask` is what it asks of the network, as JSON, and has for an answer what came and its body; `None` when
/// nothing did.
///
/// What is wrong with a script is its own affair: it has said nothing then.
pub(super) fn run(
    order: &Order,
    ask: impl Fn(String) -> Option<(String, String)> + 'static,
) -> Scripted {
    let deadline = Instant::now() + Duration::from_millis(order.millis);
    let Ok(runtime) = Runtime::new() else {
        return Scripted::default();
    };
    runtime.set_memory_limit(MEMORY);
    runtime.set_max_stack_size(STACK);
    runtime.set_interrupt_handler(Some(Box::new(move || Instant::now() >= deadline)));
    let Ok(context) = Context::full(&runtime) else {
        return Scripted::default();
    };
    context.with(|ctx| {
        let said = within(&ctx, order, ask);
        // The exception would be found by whoever comes next.
        let _ = ctx.catch();
        said.unwrap_or_default().bounded()
    })
}

fn within(
    ctx: &Ctx<'_>,
    order: &Order,
    ask: impl Fn(String) -> Option<(String, String)> + 'static,
) -> rquickjs::Result<Scripted> {
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
    // A mistake outside of every function is passed over: functions are there before the first line runs.
    let _ = ctx.eval_with_options::<(), _>(&*order.content, sloppy());
    let _ = ctx.catch();
    let handler: Function<'_> = ctx.eval_with_options("handler", sloppy())?;
    let given: MaybePromise<'_> = handler.call((Rest::<Value<'_>>(Vec::new()),))?;
    let given: Value<'_> = given.finish()?;
    let said: String = written.call((given,))?;
    Ok(serde_json::from_str(&said).unwrap_or_default())
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
