# A cluster of the parallel package at work: FORK, PSOCK, or forks for each call (mclapply).
# SPDX-License-Identifier: Apache-2.0
library(parallel)
kind <- commandArgs(TRUE)[1]
gate <- Sys.getenv("GATE")
touch <- function(what) invisible(file.create(paste0(gate, ".", what)))
work <- function(i) {
  m <- matrix(sin(seq_len(400) * i), 20)
  sum(solve(m + diag(20) * 30))
}
numbers <- 1:60
want <- vapply(numbers, work, 0)
if (kind == "mclapply") {
  run <- function() unlist(mclapply(numbers, work, mc.cores = 3))
} else {
  cluster <- makeCluster(3, type = kind)
  clusterSetRNGStream(cluster, 7)
  run <- function() parSapply(cluster, numbers, work)
}
touch("ready")
rounds <- 0
while (rounds < 10 || !file.exists(paste0(gate, ".go"))) {
  stopifnot(identical(run(), want))
  rounds <- rounds + 1
  touch("alive")
}
if (kind != "mclapply") {
  cat(unlist(clusterEvalQ(cluster, runif(1))), "\n")
  stopCluster(cluster)
}
cat("ok", kind, sum(want), "\n")
