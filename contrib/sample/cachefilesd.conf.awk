# The commented sample of the configuration, from the table of daemon/conf.c and the manual page:
#
#	awk -v version=VERSION -f contrib/sample/cachefilesd.conf.awk \
#		daemon/conf.c man/cachefilesd-mini.conf.5
#
# The manual gives the order, and the first sentence on each word and each form of its value; the
# table gives what a mistake's message would say, and with conf_init() the default.

function quoted(text)
{
	sub(/^[^"]*"/, "", text)
	sub(/".*/, "", text)
	return text
}

# A C expression of conf_init() as the word's value; "" if there is none.
function value_of(expression, word,    upper, n, i, list)
{
	if (expression in defined)
		expression = defined[expression]
	if (expression ~ /^"/) {
		gsub(/" VERSION$/, version "\"", expression)
		return quoted(expression)
	}
	n = split(words[word], list, " ")
	for (i = 1; i <= n; i++) {
		upper = toupper(list[i])
		if (expression ~ "_" upper "$")
			return list[i]
	}
	return expression ~ /^[0-9]+$/ ? expression behind[word] : ""
}

# ---- the table ----

FNR == NR && /^#define [A-Z_]+[ \t]+[0-9]+$/ { defined[$2] = $3 }
FNR == NR && /^static const char \*const [a-z_]+ = ".*";$/ && !/TEXT\(/ { said[$5] = $0 }
FNR == NR && /^#define KEYWORD_LIST/ { in_table = 1; next }
FNR == NR && /^$/ { in_table = 0 }

FNR == NR && in_table && /^\tE\("/ {
	word = quoted($0)
	row = ""
}
FNR == NR && in_table {
	gsub(/^\t+| *\\$/, "")
	row = row $0 " "
	if (row ~ /\) $/)
		take_row()
}

# What stands between the row's brackets, as far as the sample needs it.
function take_row(    rest, takes)
{
	rest = row
	sub(/^E\("[^"]*", parse_[a-z_]*,? */, "", rest)
	sub(/^\.takes = /, "", rest)
	takes = rest
	sub(/[,)].*/, "", takes)
	takes_of[word] = rest ~ /^"/ ? quoted(rest) : takes in said ? quoted(said[takes]) : ""
	if (match(rest, /MEMBER\([a-z_]*\)/))
		word_of[substr(rest, RSTART + 7, RLENGTH - 8)] = word
	if (row ~ /parse_share/)
		behind[word] = "%"
	if (row ~ /parse_(word|log)/) {
		words[word] = takes_of[word]
		gsub(/,| or/, "", words[word])
		# The first is 0, which is the default unless conf_init() says otherwise.
		preset[word] = substr(words[word], 1, index(words[word], " ") - 1)
	}
}

FNR == NR && /^void conf_init/ { in_init = 1 }
FNR == NR && /^}/ { in_init = 0 }
FNR == NR && in_init && /c->/ {
	line = $0
	value = line
	sub(/^.*(= |, )/, "", value)
	sub(/\)?;$/, "", value)
	while (match(line, /c->[a-z_]+/)) {
		member = substr(line, RSTART + 3, RLENGTH - 3)
		line = substr(line, RSTART + RLENGTH)
		if (member in word_of)
			preset[word_of[member]] = value_of(value, word_of[member])
	}
}

# ---- the manual ----

# The words of a macro's line, with those of arguments in capitals where `capitals` is set.
function plain(line, capitals,    list, n, i, text, glue, argument, close_with, option)
{
	n = split(line, list, " ")
	glue = 1
	for (i = 1; i <= n; i++) {
		if (list[i] ~ /^(Ic|Cm|Pa|Li|Sx|Ar)$/) {
			argument = list[i] == "Ar"
			continue
		}
		if (list[i] == "Ns") { glue = 1; continue }
		if (list[i] ~ /^(Op|Pq|Sq|Dq)$/) {
			text = text (glue ? "" : " ") substr("[('\"", index("OPSD", substr(list[i], 1, 1)), 1)
			close_with = substr("])'\"", index("OPSD", substr(list[i], 1, 1)), 1)
			glue = 1
			continue
		}
		if (list[i] == "Fl") { option = 1; continue }
		if (list[i] == "Xr") { list[i + 2] = list[i + 1] "(" list[i + 2] ")"; i++; continue }
		if (list[i] ~ /^[.,:;)]$/ && i > 1)
			glue = 1
		if (list[i] ~ /^[.,:;)]$/ && close_with && i == n) {
			text = text close_with
			close_with = ""
		}
		text = text (glue ? "" : " ") (option ? "-" : "") \
			(capitals && argument ? toupper(list[i]) : list[i])
		option = glue = 0
	}
	gsub(/\\&/, "", text)
	return text close_with
}

function put(text,    n, i, list, line)
{
	n = split(text, list, " ")
	line = "#"
	for (i = 1; i <= n; i++) {
		if (length(line) + length(list[i]) > 79) {
			print line
			line = "#"
		}
		line = line " " list[i]
	}
	print line
}

# All that was collected for the words of one text.
function flush(    i, word, value)
{
	for (i = 1; i <= waiting; i++) {
		word = queue[i]
		if (i == 1) {
			print ""
			put(text_of[word])
		}
		if (takes_of[word] && takes_of[word] != "nothing" && takes_of[word] != takes_of[queue[i - 1]])
			put("[" takes_of[word] "]")
		value = preset[word] != "" ? preset[word] : forms[word]
		print "#" word (value == "" ? "" : " " value)
	}
	waiting = sentence_ended = 0
}

FNR == NR { next }
FNR == 1 {
	print "# The configuration of cachefilesd-mini; cachefilesd-mini.conf(5) says more."
	print "#"
	print "# A line is a word and its value. Without the # at its beginning it counts. Those here have"
	print "# the default; in capitals is what has none. There must be at least one url."
}
/^\.(Ss|Sh) / {
	flush()
	section = substr($0, 5)
}
/^\.Bl / { depth++ }
/^\.El/ { depth-- }
depth == 1 && /^\.It Ic / {
	take_item($3, substr($0, 8 + length($3)))
	next
}
waiting && !sentence_ended && !skipped && depth == 1 && !/^\.(Bl|El|Pp)/ {
	text = /^\./ ? plain(substr($0, 2), 0) : $0
	text_of[queue[1]] = text_of[queue[1]] (text_of[queue[1]] == "" ? "" : " ") text
	sentence_ended = text ~ /\.$/
}

# Words in a row have one text. Further forms of the same word follow its first.
function take_item(word, form)
{
	if (sentence_ended && word != queue[waiting])
		flush()
	skipped = word in forms && word != queue[waiting]
	if (skipped)
		return
	if (section != shown)
		print "\n# ---- " section " ----"
	shown = section
	if (word in forms) {
		text_of[word] = text_of[word] " " plain(form, 0) ":"
	} else {
		queue[++waiting] = word
		forms[word] = plain(form, 1)
	}
	sentence_ended = 0
}
