# Reference numbers for mc.time_to_conversion. Run in tests/golden: Rscript conversion.R > conversion.json
# R 4.2.2, survival 3.5-3 (Debian 12: r-base-core r-cran-survival r-cran-jsonlite).
suppressMessages({library(survival); library(jsonlite)})

d <- read.csv("survival_ties.csv", stringsAsFactors = FALSE)
d$end <- factor(d$cause, 0:3)

# Time lost to each outcome up to tau, and its error: how it moves with the weight of each row, squared and summed.
lost <- function(data, tau) {
  fit <- survfit(Surv(time, end) ~ 1, data, influence = TRUE)
  table <- summary(fit, rmean = tau)$table
  width <- diff(c(0, pmin(fit$time, tau), tau)) # from one time to the next, as the influence has a row for the start
  se <- sapply(2:4, function(state) sqrt(sum((fit$influence.pstate[, , state] %*% width)^2)))
  list(tau = tau, cause = 1:3, estimate = unname(table[2:4, "rmean"]), se = se)
}
out <- list(all = lost(d, 6), by_group = lapply(split(d, d$group), lost, tau = 4))
cat(toJSON(out, digits = 15, auto_unbox = TRUE, na = "null"), "\n")
