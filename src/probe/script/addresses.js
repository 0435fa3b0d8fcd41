// Under which addresses a node's sessions come, for scripts without an `ip_resolve` of their own. It asks those whom MiaoSpeed asks.
function ip_resolve_default() {
  const found = [];
  for (const server of ['1.1.1.1', '[2606:4700:4700::1111]']) {
    const page = fetch(`https://${server}/cdn-cgi/trace`, {
      headers: { 'User-Agent': 'Mozilla/5.0' },
      retry: 1,
      timeout: 3000,
    });
    const line = /^ip=(\S+)/m.exec(get(page, 'body', ''));
    if (line) found.push(line[1]);
  }
  return found;
}
