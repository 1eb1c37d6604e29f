-- Networks from which alone the camera's tunnels are taken, separated by commas; NULL: from anywhere, as all were before.
ALTER TABLE cameras ADD COLUMN allow_from TEXT;
