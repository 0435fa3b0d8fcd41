//! Tests against real programs, on loopback.
//!
//! `peers` starts them, `chromium` drives a browser, `configs` writes their configs, `tunnel` is a client with its server, `panel` a server with its API, `traffic` is what
//! goes through, `name_server` answers for names that there are not. `netns` has machines for tests that need a
//! network of their own, `world` a little Internet. An `interop_*` file is about one other program at either end
//! of a tunnel; a `scenario_*` file is about one thing a user meets.

#![allow(
    clippy::disallowed_methods,
    reason = "tests have no session to log for"
)]
// A test binary has no outside; `pub` says what a module offers to the others.
#![allow(unreachable_pub)]
// All of this is tests, helpers too.
#![allow(clippy::unwrap_used)]

mod blemishes;
mod chromium;
mod cli;
mod codes;
mod command_line;
mod compatibility;
mod configs;
mod corpus;
mod first_hour_picture;
mod formatting;
mod layering;
mod library;
mod loading;
mod manual;
mod name_server;
mod netns;
mod panel;
mod peers;
mod probing;
mod schema;
mod security;
mod status_pictures;
mod traffic;
mod tunnel;
mod wire;
mod wire_with_faults;
mod world;
mod ws_ends;

mod interop_domainsocket;
mod interop_http2;
mod interop_http_header;
mod interop_httpupgrade;
mod interop_mihomo;
mod interop_mux;
mod interop_plugin;
mod interop_relay;
mod interop_reverse;
mod interop_shadowsocks;
mod interop_share_links;
mod interop_singbox;
mod interop_trojan;
mod interop_v2ray;
mod interop_vless;
mod scenario_abrupt;
mod scenario_abuse;
mod scenario_acme;
mod scenario_api;
mod scenario_api_cli;
mod scenario_api_protocols;
mod scenario_attributes;
mod scenario_backend;
mod scenario_browser;
mod scenario_browser_dialer;
mod scenario_called;
mod scenario_certificates;
mod scenario_conditions;
mod scenario_control;
mod scenario_convert;
mod scenario_default;
mod scenario_disguise;
mod scenario_dns;
mod scenario_doctor;
mod scenario_doctor_fronts;
mod scenario_doctor_idle;
mod scenario_doctor_server;
mod scenario_documents;
mod scenario_early_data;
mod scenario_embedding;
mod scenario_endings;
mod scenario_endings_http;
mod scenario_endings_tls;
mod scenario_examples;
mod scenario_fail2ban;
mod scenario_fair_names;
mod scenario_fakedns;
mod scenario_fallbacks;
mod scenario_far_truth;
mod scenario_faults;
mod scenario_final_rules;
mod scenario_flood;
mod scenario_forms;
mod scenario_forms_dns;
mod scenario_forms_fetched;
mod scenario_forms_lists;
mod scenario_forwarded;
mod scenario_fragment;
mod scenario_geoip;
mod scenario_gost;
mod scenario_gost_habits;
mod scenario_gost_ports;
mod scenario_groups;
mod scenario_haproxy;
mod scenario_http_proxy;
mod scenario_init;
mod scenario_languages;
mod scenario_limits;
mod scenario_limits_visitors;
mod scenario_links;
mod scenario_log_files;
mod scenario_log_flood;
mod scenario_log_lines;
mod scenario_manager;
mod scenario_metrics;
mod scenario_nginx;
mod scenario_observatory;
mod scenario_outside;
mod scenario_outside_http;
mod scenario_panels;
mod scenario_plugin;
mod scenario_policy;
mod scenario_ports;
mod scenario_probe;
mod scenario_proxy_header;
mod scenario_real;
mod scenario_real_servers;
mod scenario_rebinding;
mod scenario_recipes;
mod scenario_reload;
mod scenario_replay;
mod scenario_routing;
mod scenario_script_fences;
mod scenario_scripts;
mod scenario_service;
mod scenario_sharing;
mod scenario_signals;
mod scenario_site;
mod scenario_site_oddities;
mod scenario_site_upstream;
mod scenario_sniffing;
mod scenario_socks_udp;
mod scenario_spans;
mod scenario_stats;
mod scenario_status;
mod scenario_successor;
mod scenario_tickets;
mod scenario_transparent;
mod scenario_truth;
mod scenario_tunnel;
mod scenario_tunnel_visitors;
mod scenario_tunnel_wire;
mod scenario_udp_flows;
mod scenario_udp_limits;
mod scenario_websocket;
mod scenario_ws;
mod scenario_ws_hub;
mod scenario_ws_server;
mod soak;
