"""Where membership inference stands in public catalogs of attacks, and which law an audit of it bears on."""

from __future__ import annotations

from privsec.auditor.record import Reference

GDPR = "https://eur-lex.europa.eu/eli/reg/2016/679/oj"

REFERENCES: tuple[Reference, ...] = tuple(
    Reference(catalog=catalog, identifier=identifier, title=title, url=url)
    for catalog, identifier, title, url in (
        (
            "MITRE ATLAS",
            "AML.T0024.000",
            "Exfiltration via AI Inference API: Infer Training Data Membership",
            "https://atlas.mitre.org/techniques/AML.T0024.000",
        ),
        (
            "OWASP Machine Learning Security Top Ten",
            "ML04:2023",
            "Membership Inference Attack",
            "https://owasp.org/www-project-machine-learning-security-top-10/",
        ),
        (
            "NIST AI 100-2 E2025",
            "",
            "Adversarial Machine Learning: A Taxonomy and Terminology of Attacks and Mitigations; membership inference",
            "https://doi.org/10.6028/NIST.AI.100-2e2025",
        ),
        ("GDPR", "Art. 5(1)(f)", "Integrity and confidentiality of personal data", GDPR),
        ("GDPR", "Art. 25", "Data protection by design and by default", GDPR),
        ("GDPR", "Art. 32", "Security of processing", GDPR),
        ("GDPR", "Art. 35", "Data protection impact assessment", GDPR),
        (
            "EDPB",
            "Opinion 28/2024",
            "Data protection aspects of AI models; among them, when a model trained on personal data is anonymous",
            "https://www.edpb.europa.eu/our-work-tools/our-documents/opinion-board-art-64_en",
        ),
    )
)
"""One table for all audits. Identifiers as their publishers give them; none where only second sources do."""
