"""A mitmproxy addon that leads every request, whatever its host, to one HTTP server on loopback, keeping its Host.

usage: mitmdump -q -s inspecting_proxy.py --set leads_to=HOST:PORT --set confdir=DIR --set connection_strategy=lazy \
           --listen-host 127.0.0.1 --listen-port 0

Prints the proxy's port once it listens. The authority is mitmproxy-ca-cert.pem in DIR, made before that.
"""

from mitmproxy import ctx


def load(loader):
    loader.add_option("leads_to", str, "", "where every request leads")


def leads_to():
    host, port = ctx.options.leads_to.rsplit(":", 1)
    return host, int(port)


def running():
    print(ctx.master.addons.get("proxyserver").listen_addrs()[0][1], flush=True)


def request(flow):
    name = flow.request.host_header or flow.request.host
    flow.request.scheme = "http"
    flow.request.host, flow.request.port = leads_to()
    flow.request.host_header = name  # which setting the host has overwritten


def server_connect(data):
    """Refuses anything else: a tunnel that is closed before its first request would be led to its real address."""
    if tuple(data.server.address[:2]) != leads_to():
        data.server.error = "only leads to " + ctx.options.leads_to
