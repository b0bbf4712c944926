#!/bin/sh
# One backup of Assay's database: backup.sh DIRECTORY [KEEP]. Needs DATABASE_URL (the owner's) and pg_dump of the server's
# version or newer. Writes DIRECTORY/assay-<time>.dump, checks that it can be read, keeps the newest KEEP (14), and touches the
# file that ASSAY_BACKUP_STAMP names.
set -eu
dir=${1:?usage: backup.sh DIRECTORY [KEEP]}
keep=${2:-14}

decoded() { # %40 and the like become what they stand for
  rest=$1
  while [ "$rest" != "${rest#*%}" ]; do
    tail=${rest#*%}
    printf '%s' "${rest%%\%*}"
    printf "\\$(printf '%03o' "0x$(printf '%.2s' "$tail")")"
    rest=${tail#??}
  done
  printf '%s' "$rest"
}

# Everybody on this machine may read what a program was called with, so the password goes another way.
address=${DATABASE_URL%%\?*}
scheme=${address%%://*}
place=${address#*://}
case ${place%%/*} in
  *:*@*)
    login=${place%%/*}
    login=${login%@*}
    PGPASSWORD=$(decoded "${login#*:}")
    export PGPASSWORD
    database="$scheme://${login%%:*}@${place#"$login"@}${DATABASE_URL#"$address"}"
    ;;
  *) database=$DATABASE_URL ;;
esac

mkdir -p "$dir"
umask 077
file="$dir/assay-$(date -u +%Y%m%dT%H%M%SZ).dump"
trap 'rm -f "$file.part"' EXIT
trap 'exit 1' HUP INT TERM
# Row-level security is forced, on the owner too; its policies show the owner every row. Without the option pg_dump refuses.
pg_dump --format=custom --enable-row-security --dbname="$database" --file="$file.part"
pg_restore --list "$file.part" >/dev/null
mv "$file.part" "$file"
ls -1t "$dir"/assay-*.dump | tail -n "+$((keep + 1))" | while read -r old; do rm -f "$old"; done
# Last, for it may fail. A stamp that root left, by a backup by hand, is not for the user of every night to touch, but to make anew.
if [ -n "${ASSAY_BACKUP_STAMP:-}" ]; then
  mkdir -p "$(dirname "$ASSAY_BACKUP_STAMP")"
  touch "$ASSAY_BACKUP_STAMP" 2>/dev/null || { rm -f "$ASSAY_BACKUP_STAMP" && : >"$ASSAY_BACKUP_STAMP"; }
fi
echo "$file"
