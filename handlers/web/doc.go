// Package web reads HTTP requests and writes answers: problems and their codes, strict JSON, query
// parameters, pages of lists, and request ids. It knows HTTP and the format of the API. It does not know the
// guild.
package web
