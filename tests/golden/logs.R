# Reference numbers for hazard ratios and tests that are reached through event logs.
# Run in tests/golden: Rscript logs.R > logs.json
# R 4.2.2, survival 3.5-3, cmprsk 2.2-11 (Debian 12: r-base-core r-cran-survival r-cran-cmprsk r-cran-jsonlite).
suppressMessages({library(survival); library(cmprsk); library(jsonlite)})

heart$transplant <- as.numeric(heart$transplant) - 1
heart$surgery <- as.numeric(heart$surgery)
exact <- coxph.control(eps = 1e-14, toler.chol = 1e-15, iter.max = 100)

# A fit's numbers by term; `robust` only where rows were clustered.
fit <- function(formula, data, by = NULL, ties = "efron") {
  data$by <- if (is.null(by)) NULL else by
  f <- if (is.null(by)) coxph(formula, data, ties = ties, control = exact)
       else coxph(formula, data, cluster = by, ties = ties, control = exact)
  s <- summary(f)
  out <- list(term = names(coef(f)), coef = unname(coef(f)), se = unname(s$coefficients[, "se(coef)"]),
              low = unname(s$conf.int[, 3]), high = unname(s$conf.int[, 4]),
              p = unname(s$coefficients[, "Pr(>|z|)"]), loglik = f$loglik)
  if (!is.null(f$naive.var)) out$robust <- unname(s$coefficients[, "robust se"])
  out
}

one <- Surv(start, stop, event) ~ transplant
four <- Surv(start, stop, event) ~ age + year + surgery + transplant
last <- heart[order(heart$id, heart$stop), ]
last$ever <- ave(last$transplant, last$id, FUN = max)
last <- last[!duplicated(last$id, fromLast = TRUE), ]

# Of those still at risk after a landmark (days), who had been transplanted by then against who had not.
landmark <- function(at) {
  kept <- last[last$stop > at, ]
  wait <- with(heart[heart$transplant == 1, ], tapply(start, id, min))[as.character(kept$id)]
  kept$done <- as.numeric(!is.na(wait) & wait <= at)
  kept$left <- kept$stop - at
  test <- survdiff(Surv(left, event) ~ done, kept)
  c(list(at = at, n = nrow(kept), done = sum(kept$done), events = sum(kept$event), chi2 = test$chisq),
    fit(Surv(left, event) ~ done, kept))
}

lung2 <- lung[!is.na(lung$ph.ecog), ]
lung2$died <- lung2$status - 1
lung2$ecog <- factor(lung2$ph.ecog)
# The leukemia data as lifelines has them (Freireich et al. 1963), with log white-blood-cell counts.
leuk <- read.csv("logs_leukemia.csv")
ties <- read.csv("survival_ties.csv", stringsAsFactors = TRUE)
rivals <- function(data, ...) {
  tests <- cuminc(data$time, data$cause, data$group, ...)$Tests
  list(cause = rownames(tests), chi2 = unname(tests[, "stat"]), p = unname(tests[, "pv"]), df = unname(tests[, "df"]))
}

out <- list(
  heart = list(
    one = fit(one, heart), one_breslow = fit(one, heart, ties = "breslow"),
    one_robust = fit(one, heart, by = heart$id), one_robust_breslow = fit(one, heart, by = heart$id, ties = "breslow"),
    four = fit(four, heart), four_robust = fit(four, heart, by = heart$id),
    four_robust_breslow = fit(four, heart, by = heart$id, ties = "breslow"),
    strata = fit(Surv(start, stop, event) ~ age + transplant + strata(surgery), heart),
    strata_robust = fit(Surv(start, stop, event) ~ age + transplant + strata(surgery), heart, by = heart$id),
    ever = fit(Surv(stop, event) ~ ever, last),
    landmarks = lapply(c(7, 14, 30, 60, 90), landmark)
  ),
  lung = list(
    linear = fit(Surv(time, died) ~ age + sex + ph.ecog, lung2),
    linear_breslow = fit(Surv(time, died) ~ age + sex + ph.ecog, lung2, ties = "breslow"),
    levels = fit(Surv(time, died) ~ age + ecog, lung2),
    levels_robust = fit(Surv(time, died) ~ age + ecog, lung2, by = seq_len(nrow(lung2))),
    strata = fit(Surv(time, died) ~ age + strata(sex, ph.ecog), lung2)
  ),
  leukemia = list(
    rx = fit(Surv(t, status) ~ Rx, leuk), rx_breslow = fit(Surv(t, status) ~ Rx, leuk, ties = "breslow"),
    both = fit(Surv(t, status) ~ Rx + logWBC, leuk),
    both_robust = fit(Surv(t, status) ~ Rx + logWBC, leuk, by = seq_len(nrow(leuk)))
  ),
  rivals = list(
    cause1 = fit(Surv(time, cause == 1) ~ group, ties), cause2 = fit(Surv(time, cause == 2) ~ group, ties),
    cause1_strata = fit(Surv(time, cause == 1) ~ group + strata(stratum), ties, ties = "breslow"),
    gray = rivals(ties), gray_strata = rivals(ties, strata = ties$stratum)
  )
)
cat(toJSON(out, digits = 15, auto_unbox = TRUE, na = "null"), "\n")
