# Reads the log of `cargo test -- --show-output`: what passed, failed and was left out, on one line, then each test that
# ended early because something it needs is not there ("skipped: why" among what it said). Such a test did not pass.
/^successes:$/ { successes = 1 }
/^(failures:$|test result)/ { successes = 0 }
/^---- .* stdout ----$/ { name = $2; named = 0 }
successes && /^skipped:/ && !named { named = 1; early[n++] = name ":" substr($0, 9) }
/^test result/ { passed += $4; failed += $6; ignored += $8 }
END {
  print passed - n, failed + 0, ignored + n
  for (i = 0; i < n; i++) print early[i]
}
