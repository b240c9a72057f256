# SPDX-License-Identifier: Apache-2.0
# Completion of cardea's commands and options in bash; it asks the program itself, so it never falls behind.

_cardea() {
    local word=${COMP_WORDS[COMP_CWORD]} before=() i

    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == -* ]] || before+=("${COMP_WORDS[i]}")
    done
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" help "${before[@]:0:2}" 2>/dev/null |
            sed -n 's/^  \(--[a-z-]*\).*/\1/p')" -- "$word")
        return
    fi
    case ${COMP_WORDS[COMP_CWORD - 1]} in
    --config | --*-file)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --*) return ;;
    esac
    [[ ${before[0]:-} == help ]] && before=("${before[@]:1}")
    [ ${#before[@]} -le 1 ] || return
    mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" help 2>/dev/null |
        sed -n "s/^  cardea ${before[0]:+${before[0]} }\([a-z-]*\).*/\1/p" | sort -u)" -- "$word")
}

complete -F _cardea cardea
