package handlers

// Routes are the API's, each as "GET /api/me".
func Routes() []string {
	var names []string
	for _, r := range new(Server).routes() {
		names = append(names, r.method+" "+r.path)
	}
	return names
}
