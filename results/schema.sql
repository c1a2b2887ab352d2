-- Schema 4 of the result database (docs/database.md). Rows are added, never changed or taken away: triggers hold that.
-- A REAL that is NULL, where NULL is allowed, is "not a number" (SQLite stores no NaN), in metric.stderr "none".

-- The machine and build that made results. Equal contents stand here once.
CREATE TABLE environment (
  id INTEGER PRIMARY KEY,
  git_commit TEXT NOT NULL,
  version TEXT NOT NULL,
  libtorch TEXT NOT NULL,
  cpu TEXT NOT NULL,
  isa TEXT NOT NULL,
  gpu TEXT NOT NULL,
  hostname TEXT NOT NULL,
  mpi TEXT NOT NULL,
  ranks INTEGER NOT NULL,
  threads INTEGER NOT NULL,
  UNIQUE (git_commit, version, libtorch, cpu, isa, gpu, hostname, mpi, ranks, threads)
) STRICT;

-- One start of the program on one experiment. Times are UTC.
CREATE TABLE run (
  id INTEGER PRIMARY KEY,
  environment INTEGER NOT NULL REFERENCES environment (id),
  experiment TEXT NOT NULL,
  resolved TEXT NOT NULL CHECK (json_valid(resolved)),
  started TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  ended TEXT,
  status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
) STRICT;

-- What a quantization left behind. Computed again with other codes (a lost artifact, another build): one more row.
CREATE TABLE quantization (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id),
  committed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
  average_bits REAL,
  seconds REAL,
  peak_memory_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX quantization_key ON quantization (key);

-- The file that holds its codes and grids, under the artifacts folder.
CREATE TABLE artifact (
  quantization INTEGER PRIMARY KEY REFERENCES quantization (id),
  file TEXT NOT NULL,
  digest TEXT NOT NULL
) STRICT;

-- Loss, damping, chosen ratio, time of each linear, in the order of the model; the points of loss curves.
CREATE TABLE layer_metric (
  id INTEGER PRIMARY KEY,
  quantization INTEGER NOT NULL REFERENCES quantization (id),
  layer TEXT NOT NULL,
  name TEXT NOT NULL,
  value REAL,
  step INTEGER NOT NULL DEFAULT -1,    -- iteration of a learned step; -1: not a curve's point
  UNIQUE (quantization, layer, name, step)
) STRICT;

-- One attempt at a cell of a grid. A key has at most one done row; failed attempts stay as its history.
CREATE TABLE cell (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL,
  run INTEGER NOT NULL REFERENCES run (id),
  quantize_key TEXT NOT NULL,          -- quantization.key; '' for full precision
  description TEXT NOT NULL CHECK (json_valid(description)),
  checkpoint_digest TEXT NOT NULL,
  calibration_digest TEXT NOT NULL,    -- '' when none is read
  evaluation_digest TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
  error TEXT NOT NULL,
  average_bits REAL,
  seconds REAL,
  peak_memory_bytes INTEGER NOT NULL,
  committed TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
) STRICT;
CREATE INDEX cell_key ON cell (key);
CREATE UNIQUE INDEX cell_done_once ON cell (key) WHERE status = 'done';

CREATE TABLE metric (
  id INTEGER PRIMARY KEY,
  cell INTEGER NOT NULL REFERENCES cell (id),
  name TEXT NOT NULL,
  value REAL,
  stderr REAL,
  count INTEGER NOT NULL,
  UNIQUE (cell, name)
) STRICT;

-- Scores of single documents: what a paired test between two cells needs.
CREATE TABLE document_score (
  cell INTEGER NOT NULL REFERENCES cell (id),
  name TEXT NOT NULL,
  document INTEGER NOT NULL,
  value REAL,
  PRIMARY KEY (cell, name, document)
) STRICT, WITHOUT ROWID;

-- What single documents show of themselves or of their answer: question, output, ... (generative tasks).
CREATE TABLE document_text (
  cell INTEGER NOT NULL REFERENCES cell (id),
  name TEXT NOT NULL,
  document INTEGER NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (cell, name, document)
) STRICT, WITHOUT ROWID;

-- What an evaluation found inside the model it evaluated, in the order of the model; points of curves by step.
CREATE TABLE cell_layer_metric (
  id INTEGER PRIMARY KEY,
  cell INTEGER NOT NULL REFERENCES cell (id),
  layer TEXT NOT NULL,
  name TEXT NOT NULL,
  value REAL,
  step INTEGER NOT NULL DEFAULT -1,
  UNIQUE (cell, layer, name, step)
) STRICT;

-- The row that counts for each key: the done one, else the last failure.
CREATE VIEW latest_cell AS
  SELECT * FROM cell AS c
  WHERE id = (SELECT id FROM cell WHERE key = c.key ORDER BY status = 'done' DESC, id DESC LIMIT 1);
CREATE VIEW latest_quantization AS
  SELECT * FROM quantization AS q WHERE id = (SELECT max(id) FROM quantization WHERE key = q.key);

CREATE TRIGGER run_kept BEFORE DELETE ON run BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER run_ended_once BEFORE UPDATE ON run
  WHEN old.status <> 'running' OR new.id <> old.id OR new.environment <> old.environment
    OR new.experiment <> old.experiment OR new.resolved <> old.resolved OR new.started <> old.started
  BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER environment_fixed BEFORE UPDATE ON environment BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER environment_kept BEFORE DELETE ON environment BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER quantization_fixed BEFORE UPDATE ON quantization BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER quantization_kept BEFORE DELETE ON quantization BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER artifact_fixed BEFORE UPDATE ON artifact BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER artifact_kept BEFORE DELETE ON artifact BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER layer_metric_fixed BEFORE UPDATE ON layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER layer_metric_kept BEFORE DELETE ON layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER cell_fixed BEFORE UPDATE ON cell BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER cell_kept BEFORE DELETE ON cell BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER metric_fixed BEFORE UPDATE ON metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER metric_kept BEFORE DELETE ON metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER document_score_fixed BEFORE UPDATE ON document_score BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER document_score_kept BEFORE DELETE ON document_score BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER document_text_fixed BEFORE UPDATE ON document_text BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER document_text_kept BEFORE DELETE ON document_text BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER cell_layer_metric_fixed BEFORE UPDATE ON cell_layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER cell_layer_metric_kept BEFORE DELETE ON cell_layer_metric BEGIN SELECT RAISE(ABORT, 'append-only'); END;
