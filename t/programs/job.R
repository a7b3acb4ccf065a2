# Vectors, closures, garbage collection and a model, stopped in the middle.
# SPDX-License-Identifier: Apache-2.0
gate <- Sys.getenv("GATE")
set.seed(42)
x <- matrix(rnorm(20000), ncol = 20)
y <- x %*% seq_len(20) + rnorm(1000)
memory <- lapply(1:2000, function(i) seq_len(i))
cat("before\n")
invisible(file.create(paste0(gate, ".ready")))
while (!file.exists(paste0(gate, ".go"))) {
  invisible(file.create(paste0(gate, ".alive")))
  Sys.sleep(0.02)
}
invisible(gc())
fit <- lm.fit(x, y)
cat(sprintf("%.6f", fit$coefficients), fill = 70)
cat("sum", sum(vapply(memory, sum, 0)), "next", sprintf("%.9f", runif(1)), "\n")
