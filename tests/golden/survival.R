# Reference numbers for microconv.stats. Run in tests/golden: Rscript survival.R > survival.json
# R 4.2.2, survival 3.5-3, cmprsk 2.2-11 (Debian 12: r-base-core r-cran-survival r-cran-cmprsk r-cran-jsonlite).
suppressMessages({library(survival); library(cmprsk); library(jsonlite)})

curve <- function(fit) {
  s <- summary(fit, times = fit$time, censored = TRUE)
  list(time = s$time, surv = s$surv, se = s$std.err, lower = s$lower, upper = s$upper,
       n = s$n.risk, events = s$n.event, censored = s$n.censor, cumhaz = s$cumhaz, se_cumhaz = s$std.chaz)
}
quants <- function(fit, probs) {
  q <- quantile(fit, probs = probs)
  list(probs = probs, time = as.vector(q$quantile), lower = as.vector(q$lower), upper = as.vector(q$upper))
}
mean_to <- function(fit, tau) {
  t <- summary(fit, rmean = tau)$table
  list(tau = tau, estimate = t[["rmean"]], se = t[["se(rmean)"]])
}
states <- function(fit) {
  list(time = fit$time, states = fit$states[-1], pstate = fit$pstate[, -1, drop = FALSE],
       se = fit$std.err[, -1, drop = FALSE])
}
test <- function(fit) list(chisq = fit$chisq, df = length(fit$n) - 1)
probs <- c(0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)

out <- list()

# --- Ties, day 0, three causes -------------------------------------------------------------------------------------
d <- read.csv("survival_ties.csv", stringsAsFactors = FALSE)
rows <- d[rep(seq_len(nrow(d)), d$weight), ]                      # a weight is that many users
d$end <- factor(d$cause, 0:3); rows$end <- factor(rows$cause, 0:3)
km <- function(data, conf = 0.95) survfit(Surv(time, cause > 0) ~ 1, data, conf.type = "log-log", conf.int = conf)
out$ties <- list(
  all = curve(km(d)), weighted = curve(km(rows)), conf80 = curve(km(d, 0.8)),
  cause1 = curve(survfit(Surv(time, cause == 1) ~ 1, d, conf.type = "log-log")),
  from3 = curve(survfit(Surv(time, cause > 0) ~ 1, d, conf.type = "log-log", start.time = 3)),
  quantiles = quants(km(d), probs), quantiles80 = quants(km(d, 0.8), probs), quantiles_weighted = quants(km(rows), probs),
  rmst = lapply(c(0.5, 3, 7, 12), function(tau) mean_to(km(d), tau)), rmst_weighted = mean_to(km(rows), 7),
  states = states(survfit(Surv(time, end) ~ 1, d)), states_weighted = states(survfit(Surv(time, end) ~ 1, rows)),
  by_group = lapply(split(d, d$group), function(g) list(
    curve = curve(km(g)), quantiles = quants(km(g), probs), rmst = mean_to(km(g), 4),
    states = states(survfit(Surv(time, end) ~ 1, g)))),
  logrank = lapply(c(0, 0.5, 1), function(rho) test(survdiff(Surv(time, cause > 0) ~ group, d, rho = rho))),
  logrank_expected = survdiff(Surv(time, cause > 0) ~ group, d, rho = 1)[c("obs", "exp", "var")],
  logrank_stratified = lapply(c(0, 0.5, 1), function(rho)
    test(survdiff(Surv(time, cause > 0) ~ group + strata(stratum), d, rho = rho))),
  logrank_weighted = test(survdiff(Surv(time, cause > 0) ~ group, rows)),
  logrank_cause2 = test(survdiff(Surv(time, cause == 2) ~ group, d))
)
ci <- timepoints(cuminc(d$time, d$cause), times = 1:10)$est
out$ties$cuminc <- list(time = 1:10, est = ci)

# --- Late entry ----------------------------------------------------------------------------------------------------
l <- read.csv("survival_late_entry.csv", stringsAsFactors = FALSE)
l$id <- seq_len(nrow(l)); l$end <- factor(l$cause, 0:2)
lkm <- function(data) survfit(Surv(start, stop, cause > 0) ~ 1, data, conf.type = "log-log")
score <- function(formula) { f <- coxph(formula, l, ties = "exact"); list(chisq = f$score, df = length(coef(f))) }
st <- states(survfit(Surv(start, stop, end) ~ 1, l, id = id))
st$se <- NULL # R's is the infinitesimal jackknife, which differs from Greenwood's under late entry
out$late_entry <- list(
  all = curve(lkm(l)), from4 = curve(survfit(Surv(start, stop, cause > 0) ~ 1, l, conf.type = "log-log", start.time = 4)),
  quantiles = quants(lkm(l), probs), rmst = lapply(c(2.25, 6, 10), function(tau) mean_to(lkm(l), tau)), states = st,
  # The exact partial likelihood's score test is the log-rank test with the hypergeometric variance.
  logrank = score(Surv(start, stop, cause > 0) ~ factor(group)),
  logrank_cause1 = score(Surv(start, stop, cause == 1) ~ factor(group))
)

# --- Curves that are flat at exactly the probability ---------------------------------------------------------------
flat <- list(c(1, 2, 3, 4), c(1, 1, 2, 2, 5, 5, 9, 9), c(0, 0, 3, 8))
out$flat <- lapply(flat, function(t) list(time = t, status = rep(1, length(t)),
  quantiles = quants(survfit(Surv(t, rep(1, length(t))) ~ 1, conf.type = "log-log"), c(0.125, 0.25, 0.5, 0.75, 1))))
t <- c(1, 2, 3, 7, 7, 7); s <- c(1, 1, 1, 0, 0, 0)                # flat at one half to the end
out$flat[[4]] <- list(time = t, status = s,
  quantiles = quants(survfit(Surv(t, s) ~ 1, conf.type = "log-log"), c(0.125, 0.25, 0.5, 0.75, 1)))
t <- c(2, 4, 4, 6, 6, 6, 9, 9, 9, 9); s <- c(1, 1, 1, 0, 1, 1, 1, 0, 0, 0) # ten users, thirds and tenths
out$flat[[5]] <- list(time = t, status = s,
  quantiles = quants(survfit(Surv(t, s) ~ 1, conf.type = "log-log"), c(0.1, 0.3, 0.5, 0.7, 0.9)))

# --- Survival's own data: lung, veteran ----------------------------------------------------------------------------
g <- survfit(Surv(time, status == 2) ~ 1, lung, conf.type = "log-log")
out$lung <- list(quantiles = quants(g, probs), rmst = lapply(c(100, 365, 1000), function(tau) mean_to(g, tau)),
  logrank_institution = test(survdiff(Surv(time, status == 2) ~ inst, lung)),
  logrank_ecog = lapply(c(0, 1), function(rho) test(survdiff(Surv(time, status == 2) ~ ph.ecog + strata(sex), lung, rho = rho))))

# --- Wilson --------------------------------------------------------------------------------------------------------
pairs <- list(c(0, 10), c(10, 10), c(1, 3), c(7, 91), c(5000, 10000), c(3, 1e6))
out$wilson <- lapply(pairs, function(p) list(k = p[1], n = p[2], limits = lapply(c(0.8, 0.95, 0.99), function(conf)
  suppressWarnings(prop.test(p[1], p[2], conf.level = conf, correct = FALSE)$conf.int))))

cat(toJSON(out, digits = NA, auto_unbox = TRUE, na = "null", pretty = FALSE), "\n")
