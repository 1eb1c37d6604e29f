-- Where recordings of a camera may lie. No reference to cameras: recordings outlive the camera's record, and so does this.
CREATE TABLE used_classes (
    tenant    TEXT NOT NULL,
    name      TEXT NOT NULL,
    retention TEXT NOT NULL,
    tier      TEXT NOT NULL CHECK (tier IN ('full', 'low', 'idr')),
    PRIMARY KEY (tenant, name, retention, tier)
) STRICT, WITHOUT ROWID;

-- What they record now. What they recorded before is found in the store, once: until then meta has no row classes_searched.
INSERT INTO used_classes (tenant, name, retention, tier)
SELECT tenant, name, retention, CASE record WHEN 'sub' THEN 'low' ELSE 'full' END FROM cameras WHERE record <> 'off';
