# Reference numbers for Gray's test, all-pairs tests, errors by cluster and more Aalen-Johansen curves.
# Run in tests/golden: Rscript curves.R > curves.json
# R 4.2.2, survival 3.5-3, cmprsk 2.2-11 (Debian 12: r-base-core r-cran-survival r-cran-cmprsk r-cran-jsonlite).
suppressMessages({library(survival); library(cmprsk); library(jsonlite)})
set.seed(20260811)

out <- list()
ties <- read.csv("survival_ties.csv", stringsAsFactors = FALSE)
late <- read.csv("survival_late_entry.csv", stringsAsFactors = FALSE)

# --- Gray's test ---------------------------------------------------------------------------------------------------
gray <- function(d, rho = 0, strata = NULL) {
  fit <- if (is.null(strata)) cuminc(d$time, d$cause, d$group, rho = rho) else
    cuminc(d$time, d$cause, d$group, strata = d[[strata]], rho = rho)
  list(cause = as.integer(rownames(fit$Tests)), chi2 = unname(fit$Tests[, "stat"]), p = unname(fit$Tests[, "pv"]),
       df = unname(fit$Tests[, "df"]))
}
all_of <- function(d, strata) list(
  rho = c(0, 0.5, 1, 2),
  plain = lapply(c(0, 0.5, 1, 2), function(rho) gray(d, rho)),
  stratified = lapply(c(0, 0.5, 1, 2), function(rho) gray(d, rho, strata)))
n <- 240
group <- sample(c("p", "q", "r"), n, TRUE, c(0.5, 0.3, 0.2))
cause <- ifelse(runif(n) < ifelse(group == "p", 0.65, 0.45), 1, 2)
event <- rexp(n, ifelse(group == "q", 0.16, 0.1))
censor <- runif(n, 2, 20)
untied <- data.frame(group, stratum = sample(c("x", "y"), n, TRUE), time = round(pmin(event, censor), 6),
                     cause = ifelse(event <= censor, cause, 0))
stopifnot(!anyDuplicated(untied$time))
half <- untied; half$time <- ceiling(2 * half$time) / 2       # the same in half-days: heavy ties
out$gray <- list(untied = untied, half_days = half,
  of_untied = all_of(untied, "stratum"), of_half_days = all_of(half, "stratum"), of_ties = all_of(ties, "stratum"),
  two_groups = all_of(half[half$group != "r", ], "stratum"))

# --- All pairs -----------------------------------------------------------------------------------------------------
pairs_of <- function(d, rho, strata) {
  labels <- sort(unique(d$group)); both <- combn(labels, 2)
  p <- apply(both, 2, function(pair) {
    sub <- d[d$group %in% pair, ]
    f <- if (strata) survdiff(Surv(time, cause > 0) ~ group + strata(stratum), sub, rho = rho) else
      survdiff(Surv(time, cause > 0) ~ group, sub, rho = rho)
    c(f$chisq, pchisq(f$chisq, 1, lower.tail = FALSE))
  })
  list(a = both[1, ], b = both[2, ], chi2 = p[1, ], p = p[2, ], holm = p.adjust(p[2, ], "holm"),
       bh = p.adjust(p[2, ], "BH"), bonferroni = p.adjust(p[2, ], "bonferroni"))
}
out$pairs <- list(plain = pairs_of(ties, 0, FALSE), rho1 = pairs_of(ties, 1, FALSE), strata = pairs_of(ties, 0, TRUE))

means <- function(data, formula, tau, labels) {
  t <- summary(survfit(formula, data), rmean = tau)$table
  both <- combn(seq_along(labels), 2)
  difference <- t[both[1, ], "rmean"] - t[both[2, ], "rmean"]
  se <- sqrt(t[both[1, ], "se(rmean)"]^2 + t[both[2, ], "se(rmean)"]^2)
  p <- 2 * pnorm(-abs(difference / se))
  list(tau = tau, a = labels[both[1, ]], b = labels[both[2, ]], difference = unname(difference), se = unname(se),
       lower = unname(difference - qnorm(0.975) * se), upper = unname(difference + qnorm(0.975) * se), p = unname(p),
       holm = unname(p.adjust(p, "holm")))
}
out$rmst <- list(ties = means(ties, Surv(time, cause > 0) ~ group, 6, sort(unique(ties$group))),
                 lung = means(lung, Surv(time, status == 2) ~ sex, 365, 1:2))

# --- Users with several intervals, one after the other: repeat conversions in calendar and in gap time --------------
users <- 60
one <- function(id) {
  pace <- rgamma(1, 1.5, 9); start <- sample(0:6, 1) / 2 * (runif(1) < 0.5); rows <- list(); end <- 24
  repeat {
    gap <- ceiling(2 * rexp(1, pace)) / 2
    stop <- min(start + gap, end)
    rows[[length(rows) + 1]] <- data.frame(id = id, start = start, stop = stop,
      cause = if (start + gap > end) 0 else sample(0:3, 1, prob = c(0.1, 0.5, 0.25, 0.15)))
    start <- stop + sample(0:2, 1) / 2
    if (start >= end || length(rows) == 6) return(do.call(rbind, rows))
  }
}
repeats <- do.call(rbind, lapply(seq_len(users), one))
repeats$device <- ifelse(repeats$id %% 3 == 0, "tablet", "phone")                     # fixed per user
repeats$visit <- ifelse(ave(repeats$id, repeats$id, FUN = seq_along) == 1, "first", "later") # changes within one
repeats$gap <- repeats$stop - repeats$start
repeats$row <- seq_len(nrow(repeats))
repeats$end <- factor(repeats$cause, 0:3)

curve <- function(fit) {
  s <- summary(fit, times = fit$time, censored = TRUE)
  q <- quantile(fit, probs = c(0.1, 0.25, 0.5, 0.75))
  list(time = s$time, surv = s$surv, se = s$std.err, lower = s$lower, upper = s$upper,
       quantiles = list(probs = c(0.1, 0.25, 0.5, 0.75), time = as.vector(q$quantile), lower = as.vector(q$lower),
                        upper = as.vector(q$upper)))
}
# The restricted mean and its error: how it moves with the weight of each cluster, squared and summed.
mean_to <- function(fit, tau) {
  width <- diff(c(0, pmin(fit$time, tau), tau))
  list(tau = tau, estimate = sum(c(1, fit$surv) * width), se = sqrt(sum((cbind(0, fit$influence.surv) %*% width)^2)))
}
# Several states: this R takes its errors by id and ignores cluster=, so a user's rows are summed here.
states <- function(formula, data, tau) {
  fit <- survfit(formula, data, id = row, influence = TRUE)
  width <- diff(c(0, pmin(fit$time, tau), tau))
  moved <- lapply(2:4, function(j) rowsum(fit$influence.pstate[, , j], data$id))
  # The influence has a column for the start where nobody enters later.
  at_times <- lapply(moved, function(m) if (ncol(m) > length(fit$time)) m[, -1] else m)
  lost <- lapply(2:4, function(j) list(estimate = sum(c(0, fit$pstate[, j]) * width),
    se = sqrt(sum((cbind(0, at_times[[j - 1]]) %*% width)^2))))
  list(time = fit$time, states = fit$states[-1], pstate = fit$pstate[, -1],
       se = sapply(at_times, function(m) sqrt(colSums(m^2))), se_by_row = fit$std.err[, -1], tau = tau, lost = lost)
}
km <- function(formula, data, ...) survfit(formula, data, cluster = id, robust = TRUE, influence = TRUE,
                                           conf.type = "log-log", ...)
both <- function(survival, of_states, data, tau) {
  fit <- km(survival, data)
  list(km = curve(fit), rmst = mean_to(fit, tau), states = states(of_states, data, tau))
}
calendar <- Surv(start, stop, cause > 0) ~ 1; calendar_states <- Surv(start, stop, end) ~ 1
gaps <- Surv(gap, cause > 0) ~ 1; gap_states <- Surv(gap, end) ~ 1
cause1 <- km(Surv(gap, cause == 1) ~ 1, repeats)
out$clusters <- list(
  repeats = repeats[, c("id", "start", "stop", "cause", "device", "visit", "gap", "row")],
  calendar = both(calendar, calendar_states, repeats, 9), gap = both(gaps, gap_states, repeats, 9),
  gap_cause1 = list(km = curve(cause1), rmst = mean_to(cause1, 9)),
  calendar_from4 = list(km = curve(km(calendar, repeats, start.time = 4))),
  calendar_by_device = lapply(split(repeats, repeats$device), function(d) both(calendar, calendar_states, d, 9)),
  gap_by_visit = lapply(split(repeats, repeats$visit), function(d) both(gaps, gap_states, d, 9)))
# The difference of two restricted means that the same users enter: the influences of a user on both are subtracted.
first <- km(gaps, repeats[repeats$visit == "first", ]); later <- km(gaps, repeats[repeats$visit == "later", ])
influence <- function(fit, tau) {
  width <- diff(c(0, pmin(fit$time, tau), tau)); moved <- numeric(users)
  by_user <- cbind(0, fit$influence.surv) %*% width
  moved[as.integer(rownames(fit$influence.surv))] <- by_user
  moved
}
out$clusters$difference <- list(tau = 9, difference = mean_to(first, 9)$estimate - mean_to(later, 9)$estimate,
  se = sqrt(sum((influence(first, 9) - influence(later, 9))^2)))

# --- Aalen-Johansen of other data: late entry, ties, three causes, by row -------------------------------------------
late$row <- seq_len(nrow(late)); late$id <- late$row; late$end <- factor(late$cause, 0:2)
fit <- survfit(Surv(start, stop, end) ~ 1, late, id = row)
out$late_by_row <- list(time = fit$time, states = fit$states[-1], pstate = fit$pstate[, -1], se = fit$std.err[, -1])
half$end <- factor(half$cause, 0:2)
out$half_days_states <- lapply(split(half, half$group), function(d) {
  fit <- survfit(Surv(time, end) ~ 1, d); ci <- timepoints(cuminc(d$time, d$cause), times = 1:8)$est
  list(time = fit$time, states = fit$states[-1], pstate = fit$pstate[, -1], se = fit$std.err[, -1], cuminc = ci)
})
# Censored only at the end: the share by each cause is a proportion.
closed <- data.frame(time = rep(c(0.5, 1, 1, 2, 2, 3, 7, 7), times = c(3, 4, 2, 5, 1, 6, 20, 4)),
                     cause = rep(c(1, 1, 2, 3, 1, 2, 0, 3), times = c(3, 4, 2, 5, 1, 6, 20, 4)))
closed$end <- factor(closed$cause, 0:3)
fit <- survfit(Surv(time, end) ~ 1, closed)
out$closed <- list(data = closed[, c("time", "cause")], time = fit$time, states = fit$states[-1],
                   pstate = fit$pstate[, -1], se = fit$std.err[, -1])

# --- Adjusted p-values ---------------------------------------------------------------------------------------------
p <- c(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.759, 1)
out$adjust <- list(p = p, bh = p.adjust(p, "BH"), holm = p.adjust(p, "holm"), bonferroni = p.adjust(p, "bonferroni"))
gappy <- c(0.02, NA, 0.001, 0.02, NA, 0.8)
out$adjust_gaps <- list(p = gappy, bh = p.adjust(gappy, "BH"), holm = p.adjust(gappy, "holm"),
                        bonferroni = p.adjust(gappy, "bonferroni"))

cat(toJSON(out, digits = NA, auto_unbox = TRUE, na = "null", dataframe = "columns", pretty = FALSE), "\n")
