package chat

import (
	"iter"
	"strings"
)

// parts cuts a text into what is written as text and what is written as code: first text, then code, and so
// on by turns. Joined together, the parts are the text again. Each part may be empty.
//
// Code is what Markdown shows as code: what stands between two runs of equally many backticks in one
// paragraph, and the lines of a block between ``` or ~~~. A block that is not closed goes on to the end. A
// backslash before a backtick makes it an ordinary character.
func parts(text string) iter.Seq2[string, bool] {
	return func(yield func(part string, isCode bool) bool) {
		done := 0
		for _, c := range codeIn(text) {
			if !yield(text[done:c.from], false) || !yield(text[c.from:c.to], true) {
				return
			}
			done = c.to
		}
		yield(text[done:], false)
	}
}

// A span is a part of a text.
type span struct{ from, to int }

// codeIn returns the code of a text, in order.
func codeIn(text string) (code []span) {
	if !strings.Contains(text, "`") && !strings.Contains(text, "~~~") {
		return nil
	}
	paragraph := 0 // where the current paragraph begins
	for at := 0; at < len(text); {
		end := lineEnd(text, at)
		line := text[at:end]
		fence, quotes := opensBlock(line)
		if fence == "" {
			if endsParagraph(line) {
				code = append(code, inlineCode(text, paragraph, at)...)
				paragraph = at
			}
			at = end
			continue
		}
		code = append(code, inlineCode(text, paragraph, at)...)
		begin := at
		for at = end; at < len(text); {
			end = lineEnd(text, at)
			rest, depth := withoutQuotes(text[at:end])
			if depth < quotes {
				break // the quote has ended, and its block with it
			}
			at = end
			if closesBlock(rest, fence) {
				break
			}
		}
		code = append(code, span{begin, at})
		paragraph = at
	}
	return append(code, inlineCode(text, paragraph, len(text))...)
}

// lineEnd returns where the line at a place ends, with its line break.
func lineEnd(text string, at int) int {
	n := strings.IndexByte(text[at:], '\n')
	if n < 0 {
		return len(text)
	}
	return at + n + 1
}

// opensBlock returns the fence with which a line opens a block of code, and how many quotes the line is in.
// It returns "" for any other line. A fence may stand in a quote and in an item of a list.
func opensBlock(line string) (fence string, quotes int) {
	rest, quotes := withoutQuotes(line)
	rest = withoutMarker(rest)
	for _, mark := range []string{"`", "~"} {
		after := strings.TrimLeft(rest, mark)
		n := len(rest) - len(after)
		if n >= 3 && (mark == "~" || !strings.Contains(after, "`")) {
			return rest[:n], quotes
		}
	}
	return "", quotes
}

// closesBlock reports whether a line, which is in no quote, closes a block that a fence opened.
func closesBlock(line, fence string) bool {
	after := strings.TrimLeft(line, fence[:1])
	return len(line)-len(after) >= len(fence) && strings.TrimSpace(after) == ""
}

// withoutQuotes returns a line without the spaces and the > with which it begins, and the number of the >.
func withoutQuotes(line string) (rest string, quotes int) {
	rest = strings.TrimLeft(line, " \t>")
	return rest, strings.Count(line[:len(line)-len(rest)], ">")
}

// withoutMarker returns a line without the marker of an item of a list. A marker needs a space behind it.
func withoutMarker(line string) string {
	rest := strings.TrimLeft(line, "0123456789")
	if digits := len(line) - len(rest); digits == 0 && strings.IndexAny(rest, "-*+") != 0 ||
		digits > 0 && strings.IndexAny(rest, ".)") != 0 {
		return line
	}
	if rest = rest[1:]; strings.HasPrefix(rest, " ") {
		return strings.TrimLeft(rest, " ")
	}
	return line
}

// endsParagraph reports whether a line ends the paragraph before it: it is empty, a heading, or begins an
// item of a list.
func endsParagraph(line string) bool {
	rest, _ := withoutQuotes(line)
	return strings.TrimSpace(rest) == "" || strings.HasPrefix(rest, "#") || withoutMarker(rest) != rest
}

// inlineCode returns the code between backticks in a paragraph of a text, backticks included.
func inlineCode(text string, from, to int) (code []span) {
	runs := backticks(text, from, to)
	open := map[int]bool{} // lengths of runs that nothing behind them closes
	for i := 0; i < len(runs); i++ {
		first := runs[i]
		n := first.to - first.from
		if first.from > from && text[first.from-1] == '\\' && !escaped(text, from, first.from-1) {
			n-- // the first backtick is an ordinary character
			first.from++
		}
		if n == 0 || open[n] {
			continue
		}
		last := i + 1
		for last < len(runs) && runs[last].to-runs[last].from != n {
			last++
		}
		if last == len(runs) {
			open[n] = true
			continue
		}
		code = append(code, span{first.from, runs[last].to})
		i = last
	}
	return code
}

// escaped reports whether a backslash stands before a place, and means it.
func escaped(text string, from, at int) bool {
	n := 0
	for at-n > from && text[at-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// backticks returns the runs of backticks in a part of a text.
func backticks(text string, from, to int) (runs []span) {
	for at := from; at < to; {
		n := strings.IndexByte(text[at:to], '`')
		if n < 0 {
			break
		}
		begin := at + n
		at = begin
		for at < to && text[at] == '`' {
			at++
		}
		runs = append(runs, span{begin, at})
	}
	return runs
}
