package kinds

// Guard gives tests what the library runs in.
var Guard = guard
