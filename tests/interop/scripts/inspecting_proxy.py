"""A mitmproxy addon that leads every request, whatever its host, to one HTTP server on loopback.

usage: mitmdump -q -s inspecting_proxy.py --set leads_to=HOST:PORT --set confdir=DIR \
           --set connection_strategy=lazy --listen-host 127.0.0.1 --listen-port 0

Prints the proxy's port once it listens. The authority's certificate is mitmproxy-ca-cert.pem in DIR.
"""

from mitmproxy import ctx


def load(loader):
    loader.add_option("leads_to", str, "", "where every request leads")


def running():
    for _, port, *_ in ctx.master.addons.get("proxyserver").listen_addrs():
        print(port, flush=True)
        return


def request(flow):
    host, port = ctx.options.leads_to.rsplit(":", 1)
    name = flow.request.host_header or flow.request.host
    flow.request.scheme, flow.request.host, flow.request.port = "http", host, int(port)
    flow.request.host_header = name
