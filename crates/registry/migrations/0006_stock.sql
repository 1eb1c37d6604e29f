-- When somebody claimed a camera that a batch made. What was made before is nobody's stock.
ALTER TABLE enrolled ADD COLUMN claimed INTEGER;
UPDATE enrolled SET claimed = at;
