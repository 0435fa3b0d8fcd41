// Where an address is, for fronts that send no script of type `ip`. It asks whom MiaoSpeed asks.
function handler(ip) {
  const page = fetch(`https://ipv4.ipleak.net/json/${ip}`, {
    headers: { 'User-Agent': 'Mozilla/5.0' },
    retry: 1,
    timeout: 3000,
  });
  const told = safeParse(get(page, 'body', '{}'));
  return {
    ip: get(told, 'query', ''),
    isp: get(told, 'isp_name', ''),
    organization: get(told, 'isp_name', ''),
    asn: parseInt(get(told, 'as_number', 0), 10) || 0,
    asn_organization: get(told, 'isp_name', ''),
    longitude: get(told, 'longitude', 0),
    latitude: get(told, 'latitude', 0),
    timezone: get(told, 'time_zone', ''),
    // Fronts have been shown the city there.
    country: get(told, 'city_name', ''),
    country_code: get(told, 'country_code', ''),
  };
}
