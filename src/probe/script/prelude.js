// What a script finds. MiaoSpeed's scripts are written for goja with these, so they have its names, and what is of another
// type than expected counts as not given, as there. `ask` is the one door out.
(function (ask, proxy) {
  const { parse, stringify } = JSON;

  // Half a character, as `slice` makes them, is none in JSON.
  const wellFormed = (key, value) => (typeof value === 'string' ? value.toWellFormed() : value);
  const say = (what) => ask(stringify(what, wellFormed));

  const text = (value, otherwise) => (typeof value === 'string' ? value : otherwise);
  const flag = (value) => value === true;
  const whole = (value, otherwise, least, most) =>
    Math.min(Math.max(Number.isInteger(value) ? value : otherwise, least), most);
  const object = (value) => (value !== null && typeof value === 'object' ? value : {});
  const pairs = (value) => Object.entries(object(value)).filter(([, item]) => typeof item === 'string');
  const patience = (options) => ({
    retry: whole(options.retry, 1, 1, 10),
    timeout: whole(options.timeout, 3000, 1, 60000),
  });

  const fetch = (url, given) => {
    const options = object(given);
    // The network of the back end itself is not for scripts.
    if (flag(options.useHost)) return null;
    const answer = say({
      fetch: {
        url: text(url, ''),
        method: text(options.method, 'GET'),
        body: text(options.body, ''),
        headers: pairs(options.headers),
        cookies: pairs(options.cookies),
        noRedir: flag(options.noRedir),
        ...patience(options),
      },
    });
    return answer === undefined ? null : { ...parse(answer[0]), body: answer[1] };
  };

  const netcat = (addr, data, given) => {
    const options = object(given);
    if (flag(options.useHost)) return { error: 'useHost is refused here', data: '' };
    const answer = say({ netcat: { addr: text(addr, ''), data: text(data, ''), ...patience(options) } });
    return answer === undefined ? { error: 'too much data', data: '' } : { ...parse(answer[0]), data: answer[1] };
  };

  // What is printed goes nowhere, for nobody asked the operator. The text comes back as it does from MiaoSpeed.
  const printer = (front) => (...items) => [front, ...items.map(String)].join(' ');
  const print = printer('Script Print |');
  const nothing = () => undefined;

  const get = (data, path, defaults = null) => {
    let found = data;
    for (const key of path.split('.')) {
      if (found === null || found === undefined) return defaults;
      found = found[key];
    }
    return found ?? defaults;
  };

  const safeParse = (data) => {
    try {
      return parse(data);
    } catch {
      return {};
    }
  };
  const safeStringify = (data) => {
    try {
      return stringify(data);
    } catch {
      return '';
    }
  };

  Object.assign(globalThis, {
    proxy: parse(proxy),
    fetch,
    netcat,
    print,
    println: print,
    debug: printer('Script Debug |'),
    console: { log: nothing, info: nothing, debug: nothing, warn: nothing, error: nothing },
    get,
    safeParse,
    safeStringify,
    __json_parse: safeParse,
    __json_stringify: safeStringify,
  });

  // What a function gave: as it is, or as a front is told of a node.
  return (given, isWhole) => {
    if (isWhole) return stringify(given, wellFormed);
    if (typeof given === 'string') return stringify({ text: given }, wellFormed);
    const { text: words, color, background } = object(given);
    const said = { text: text(words, ''), color: text(color, ''), background: text(background, '') };
    return stringify(said, wellFormed);
  };
})
