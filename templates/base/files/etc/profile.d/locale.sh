# UTF-8 without a language: tools that parse English messages keep working.
export LANG="${LANG:-C.UTF-8}"
