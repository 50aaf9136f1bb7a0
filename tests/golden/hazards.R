# Reference numbers for Cox's model, piecewise-exponential hazards and the test of proportional hazards.
# Run in tests/golden: Rscript hazards.R > hazards.json
# R 4.2.2, survival 3.5-3 (Debian 12: r-base-core r-cran-survival r-cran-jsonlite).
suppressMessages({library(survival); library(jsonlite)})
set.seed(20261123)
exact <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)
heart$transplant <- as.numeric(heart$transplant) - 1
lung2 <- lung[!is.na(lung$ph.ecog), ]
lung2$months <- ceiling(lung2$time / 60)                    # heavy ties
lung2$died <- lung2$status - 1
ties <- read.csv("survival_ties.csv", stringsAsFactors = TRUE)
ties <- ties[rep(seq_len(nrow(ties)), ties$weight), ]       # a weight is that many users
ties$user <- seq_len(nrow(ties)) %% 37
late <- read.csv("survival_late_entry.csv", stringsAsFactors = TRUE)
late$user <- seq_len(nrow(late)) %% 23
# Two thousand users, four times: hundreds fail at once, and at the last one everybody.
many <- expand.grid(x = 0:2, arm = c("a", "b"), time = 1:4, event = 0:1)
many$n <- 1 + sample(0:90, nrow(many), TRUE) * ifelse(many$event == 1, 2, 1)
many$n[many$time == 4 & many$event == 0] <- 0
rows <- many[rep(seq_len(nrow(many)), many$n), ]

fit <- function(formula, data, cluster = NULL, zph = TRUE) {
  one <- function(method) {
    enters <- identical(data, late)
    data$cluster_ <- if (is.null(cluster)) NULL else data[[cluster]]
    DATA <<- data                                           # basehaz reads the data again, from the call
    f <- eval(if (is.null(cluster)) bquote(coxph(.(formula), DATA, ties = .(method), control = exact))
              else bquote(coxph(.(formula), DATA, cluster = cluster_, ties = .(method), control = exact)))
    s <- summary(f)
    b <- basehaz(f, centered = FALSE)
    out <- list(term = names(coef(f)), coef = unname(coef(f)), se = unname(s$coefficients[, "se(coef)"]),
      low = unname(s$conf.int[, 3]), high = unname(s$conf.int[, 4]), p = unname(s$coefficients[, ncol(s$coefficients)]),
      loglik = f$loglik, var = unname(f$var))
    if (!is.null(cluster)) out$robust <- unname(s$coefficients[, "robust se"])
    kept <- seq(1, nrow(b), length.out = min(nrow(b), 40))
    out$baseline <- as.list(b[kept, ])
    if (zph) out$zph <- lapply(c(km = "km", rank = "rank", identity = "identity", log = "log"), function(transform) {
      if (transform == "log" && any(f$y[, ncol(f$y) - 1] == 0)) return(NULL)
      if (transform == "rank" && enters) transform <- ranks
      unname(cox.zph(f, transform, terms = FALSE)$table[, "chisq"])
    })
    out
  }
  list(efron = one("efron"), breslow = one("breslow"))
}

# Where the log likelihood, the other coefficients being fitted anew, lies half a chi-squared quantile below its maximum.
profile <- function(data, x, others, from, to, top) {
  at <- function(b) {
    data$held_ <- b * data[[x]]
    formula <- as.formula(paste("Surv(start, stop, event) ~", paste(c(others, "offset(held_)"), collapse = "+")))
    l <- coxph(formula, data, control = exact)$loglik
    l[length(l)] - top + qchisq(0.95, 1) / 2
  }
  uniroot(at, c(from, to), tol = 1e-11)$root
}
full <- coxph(Surv(start, stop, event) ~ age + year + surgery + transplant, heart, control = exact)
others <- c("age", "year", "surgery")
limits <- c(profile(heart, "transplant", others, -3, coef(full)[4], full$loglik[2]),
            profile(heart, "transplant", others, coef(full)[4], 3, full$loglik[2]))

# Nobody who did the micro has the event: the ratio runs to 0, and age is fitted without them.
lost <- subset(heart, !(transplant == 1 & event == 1))
alone <- coxph(Surv(start, stop, event) ~ age, lost[lost$transplant == 0, ], control = exact)
none <- coxph(Surv(start, stop, event) ~ age, lost, control = exact)
separated <- list(coef = unname(coef(alone)), se = sqrt(diag(alone$var)), loglik = alone$loglik[2],
  high = exp(profile(lost, "transplant", "age", -4, 3, alone$loglik[2])),
  p = pchisq(2 * (alone$loglik[2] - none$loglik[2]), 1, lower.tail = FALSE))

rates <- function(terms, cuts, strata = NULL) {
  formula <- reformulate(c(terms, strata), quote(Surv(start, stop, event)))
  long <- survSplit(formula, heart, cut = cuts, episode = "bin", start = "from", end = "to", event = "died")
  long$days <- long$to - long$from
  long$rate <- if (is.null(strata)) factor(long$bin) else interaction(long$bin, long[[strata]])
  g <- glm(reformulate(c(terms, "rate", "offset(log(days))"), "died"), poisson, long,
           control = glm.control(epsilon = 1e-14, maxit = 100))
  stopifnot(g$converged)
  list(cuts = cuts, term = terms, coef = unname(coef(g)[terms]), se = unname(sqrt(diag(vcov(g)))[terms]),
       loglik = sum(long$died * log(fitted(g) / long$days)) - sum(fitted(g)))
}

# Ranks as R's, but where some of a group leave as others enter it, only those count who leave for good.
ranks <- function(times) {
  ends <- with(late, tapply(cause > 0, list(group, stop), sum))
  ends[is.na(ends)] <- 0
  for (g in rownames(ends)) for (t in colnames(ends)) {
    gone <- sum(late$group == g & late$stop == as.numeric(t) & late$cause == 0)
    came <- sum(late$group == g & late$start == as.numeric(t))
    ends[g, t] <- ends[g, t] + max(gone - came, 0)
  }
  ends <- colSums(ends)
  unname((cumsum(ends) - (ends - 1) / 2)[as.character(times)])
}

out <- list(
  heart = fit(Surv(start, stop, event) ~ age + year + surgery + transplant, heart, "id"),
  heart_strata = fit(Surv(start, stop, event) ~ age + transplant + strata(surgery), heart, "id"),
  lung = fit(Surv(time, died) ~ age + sex + ph.ecog, lung2),
  lung_months = fit(Surv(months, died) ~ age + sex + ph.ecog, lung2),
  lung_strata = fit(Surv(months, died) ~ age + ph.ecog + strata(sex), lung2),
  ties = fit(Surv(time, cause == 1) ~ group, ties, "user"),
  ties_any = fit(Surv(time, cause > 0) ~ group, ties),
  ties_strata = fit(Surv(time, cause == 2) ~ group + strata(stratum), ties, "user"),
  late = fit(Surv(start, stop, cause == 1) ~ group, late, "user"),
  late_any = fit(Surv(start, stop, cause > 0) ~ group, late),
  many = c(list(counts = many), fit(Surv(time, event) ~ x + arm, rows)),
  profile = list(low = exp(limits[1]), high = exp(limits[2])),
  separated = separated,
  poisson = rates(c("age", "year", "surgery", "transplant"), c(30, 90, 365)),
  poisson_strata = rates(c("age", "transplant"), c(10, 60), "surgery"))
cat(toJSON(out, digits = 15, auto_unbox = TRUE, null = "null"), "\n")
