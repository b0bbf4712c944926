-- What would raise the newest score of a key metric most, worked out when the score is: the list of clients shows it and
-- sorts by it. It speaks of one day's value; beside another day's it is not shown.
CREATE TABLE score_advice (
  user_id          text NOT NULL,
  metric_name      text NOT NULL,
  source           text NOT NULL,
  measurement_date date NOT NULL,
  points           integer NOT NULL CHECK (points BETWEEN 0 AND 100), -- 0: nothing would raise it
  advice           text NOT NULL,
  PRIMARY KEY (user_id, metric_name, source)
);
