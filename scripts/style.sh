#!/usr/bin/env bash
# Puts the files that style/main.css imports into one, each in its layer: the browser then asks for a single file.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p target
while IFS= read -r line; do
  if [[ $line =~ ^@import\ \"([a-z_-]+\.css)\"\ layer\(([a-z]+)\)\;$ ]]; then
    printf '@layer %s {\n' "${BASH_REMATCH[2]}"
    cat "style/${BASH_REMATCH[1]}"
    printf '}\n'
  else
    printf '%s\n' "$line"
  fi
done <style/main.css >target/assay.css.new
cmp -s target/assay.css.new target/assay.css 2>/dev/null && rm target/assay.css.new || mv target/assay.css.new target/assay.css
