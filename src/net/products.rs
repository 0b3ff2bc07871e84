//! Products that open TLS, known by the names on their certificates. Used for wording only: what is trusted is decided
//! by the chain, never by a name.

/// What a name on a certificate contains in lower case, and the product that is known by it.
const PRODUCTS: [(&str, &str); 37] = [
    ("zscaler", "Zscaler"),
    ("netskope", "Netskope"),
    ("goskope", "Netskope"),
    ("palo alto", "Palo Alto Networks"),
    ("paloalto", "Palo Alto Networks"),
    ("prisma access", "Palo Alto Networks"),
    ("blue coat", "Blue Coat"),
    ("bluecoat", "Blue Coat"),
    ("symantec web", "Symantec Web Security"),
    ("fortinet", "Fortinet"),
    ("fortigate", "Fortinet"),
    ("forcepoint", "Forcepoint"),
    ("websense", "Forcepoint"),
    ("cisco umbrella", "Cisco Umbrella"),
    ("opendns", "Cisco Umbrella"),
    ("cisco web security", "Cisco Web Security"),
    ("check point", "Check Point"),
    ("checkpoint", "Check Point"),
    ("sophos", "Sophos"),
    ("mcafee", "Skyhigh (McAfee)"),
    ("skyhigh", "Skyhigh (McAfee)"),
    ("trellix", "Trellix"),
    ("barracuda", "Barracuda"),
    ("iboss", "iboss"),
    ("menlo security", "Menlo Security"),
    ("cloudflare gateway", "Cloudflare Gateway"),
    ("gateway ca - cloudflare", "Cloudflare Gateway"),
    ("cato networks", "Cato Networks"),
    ("watchguard", "WatchGuard"),
    ("sonicwall", "SonicWall"),
    ("kaspersky", "Kaspersky"),
    ("bitdefender", "Bitdefender"),
    ("eset ssl", "ESET"),
    ("avast", "Avast"),
    ("mitmproxy", "mitmproxy"),
    ("portswigger", "Burp Suite"),
    ("do_not_trust_fiddler", "Fiddler"),
];

/// The product that one of these names tells.
pub fn known_by<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    names.find_map(|name| {
        let name = name.to_lowercase();
        PRODUCTS.iter().find(|(part, _)| name.contains(part)).map(|(_, product)| *product)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_told_by_any_name() {
        let product = |names: &[&str]| known_by(names.iter().copied());
        assert_eq!(product(&["oidc.eu-west-1.amazonaws.com", "Zscaler Intermediate Root CA"]), Some("Zscaler"));
        assert_eq!(product(&["mitmproxy"]), Some("mitmproxy"));
        assert_eq!(product(&["FortiGate CA"]), Some("Fortinet"));
        assert_eq!(product(&["Amazon RSA 2048 M01", "Amazon Root CA 1"]), None);
        assert!(PRODUCTS.iter().all(|(part, _)| *part == part.to_lowercase()), "parts are compared in lower case");
    }
}
