# Mixture-cure fits of made data by plain likelihoods on rows. Run in tests/golden: Rscript cure.R > cure.json
# R 4.2.2 (Debian 12: r-base-core r-cran-jsonlite).
suppressMessages(library(jsonlite))

set.seed(20260105)
n <- 300
eventual <- runif(n) < 0.4
delay <- ifelse(eventual, 6 * rexp(n)^(1 / 0.8), Inf)
entry <- ifelse(runif(n) < 0.3, runif(n, 0, 3), 0)
censor <- runif(n, 0, 60)
stop <- round(pmin(delay, censor), 4)
event <- delay <= censor
kept <- stop > entry
entry <- round(entry[kept], 4); stop <- stop[kept]; event <- event[kept]
late <- entry > 0 & entry < stop
entry <- ifelse(late, entry, 0)

gg_survival <- function(t, mu, sigma, q) {
  w <- (log(t) - mu) / sigma
  pgamma(exp(q * w) / q^2, shape = 1 / q^2, lower.tail = q < 0)
}
gg_density <- function(t, mu, sigma, q) {
  w <- (log(t) - mu) / sigma
  a <- 1 / q^2
  exp(log(abs(q)) + a * log(a) - lgamma(a) + a * (q * w - exp(q * w))) / (sigma * t)
}
mixture <- function(p, tail) 1 - p + p * tail

weibull <- function(x) {
  p <- plogis(x[1]); shape <- exp(-x[3]); scale <- exp(x[2])
  survival <- function(t) mixture(p, pweibull(t, shape, scale, lower.tail = FALSE))
  -sum(ifelse(event, log(p) + dweibull(stop, shape, scale, log = TRUE), log(survival(stop)))) + sum(log(survival(entry)))
}
generalised <- function(x) {
  p <- plogis(x[1])
  survival <- function(t) mixture(p, ifelse(t > 0, gg_survival(t, x[2], exp(x[3]), x[4]), 1))
  -sum(ifelse(event, log(p) + log(gg_density(stop, x[2], exp(x[3]), x[4])), log(survival(stop)))) + sum(log(survival(entry)))
}
# Events known to the week only; the censored to their time. Everybody from the start.
cuts <- seq(7, 56, 7)
grouped <- function(x) {
  p <- plogis(x[1]); shape <- exp(-x[3]); scale <- exp(x[2])
  tail <- function(t) pweibull(t, shape, scale, lower.tail = FALSE)
  edges <- c(0, cuts, Inf)
  at <- findInterval(stop, c(0, cuts), left.open = TRUE)
  -sum(ifelse(event, log(p) + log(tail(edges[at]) - tail(edges[at + 1])), log(mixture(p, tail(stop)))))
}
fit <- function(f, start) {
  best <- optim(start, f, method = "Nelder-Mead", control = list(maxit = 20000, reltol = 1e-15))
  for (i in 1:5) best <- optim(best$par, f, method = "BFGS", control = list(maxit = 5000, reltol = 1e-15, ndeps = rep(1e-5, length(start))))
  best
}
# The share at which twice the log likelihood has fallen by 3.84: all else at its best.
limit <- function(f, best, side) {
  fall <- function(logit) {
    inner <- function(rest) f(c(logit, rest))
    found <- optim(best$par[-1], inner, method = "BFGS", control = list(maxit = 5000, reltol = 1e-15, ndeps = rep(1e-5, length(best$par) - 1)))
    2 * (found$value - best$value) - qchisq(0.95, 1)
  }
  far <- best$par[1] + side * c(0.001, 1.5)
  plogis(uniroot(fall, sort(far), tol = 1e-10)$root)
}
limits <- function(f, best) list(ci_low = limit(f, best, -1), ci_high = limit(f, best, 1))
said <- function(best) list(log_likelihood = -best$value, share = plogis(best$par[1]), mu = best$par[2],
                            sigma = exp(best$par[3]))
suppressWarnings({ # the search looks at impossible scales on its way
  w <- fit(weibull, c(-0.4, 1.8, 0.2))
  g <- fit(generalised, c(w$par, 0.9))
  b <- fit(grouped, c(-0.4, 1.8, 0.2))
  out <- list(entry = entry, stop = stop, event = as.integer(event), cuts = cuts,
              weibull = c(said(w), limits(weibull, w)), generalised_gamma = c(said(g), list(q = g$par[4])),
              grouped = c(said(b), limits(grouped, b)))
})
cat(toJSON(out, auto_unbox = TRUE, digits = 15, pretty = FALSE), "\n")
