// Package faultstest has one test for each thing that goes wrong in a deployment. Each runs the program under
// load, does the harm, and holds what every stream saw against what was acknowledged.
package faultstest
