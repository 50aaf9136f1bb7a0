# Reference numbers for ratios across strata, standardised means, an experiment that nudges, and shrunken estimates.
# Run in tests/golden: Rscript value.R > value.json
# R 4.2.2 with base packages and r-cran-jsonlite alone: what mantelhaen.test and lm do not give is worked out by matrices,
# searches for roots and general optimisers, not by the formulas of the package.
suppressMessages(library(jsonlite))
set.seed(20261201)
out <- list()

# --- E-values: where the bound of Ding and VanderWeele (2016) meets the ratio, both strengths being alike -------------
solved <- function(rr) uniroot(function(e) e * e / (2 * e - 1) - rr, c(rr, 10 * rr), tol = 1e-13)$root
rr <- c(3.9, 1.8, 10.73, 8.02, 1.25, 1.01)
out$e_values <- list(ratio = rr, e_value = sapply(rr, solved))

# --- UCB admissions: Mantel-Haenszel -----------------------------------------------------------------------------------
ucb <- as.data.frame(UCBAdmissions)
mh <- mantelhaen.test(UCBAdmissions, correct = FALSE)          # odds of admission, men over women
out$ucb <- list(department = ucb$Dept[ucb$Admit == "Admitted"], gender = ucb$Gender[ucb$Admit == "Admitted"],
  admitted = ucb$Freq[ucb$Admit == "Admitted"],
  users = ucb$Freq[ucb$Admit == "Admitted"] + ucb$Freq[ucb$Admit == "Rejected"],
  odds_ratio = unname(mh$estimate), low = mh$conf.int[1], high = mh$conf.int[2], chi2 = unname(mh$statistic),
  p = mh$p.value)

# --- Standardised means, from rows: a saturated regression, its predictions, and the errors of stacked equations --------
n <- 900
stratum <- sample(letters[1:4], n, TRUE, c(.4, .3, .2, .1))
treated <- rbinom(n, 1, c(a = .2, b = .5, c = .6, d = .4)[stratum])
amount <- round(rgamma(n, 2, .1) * c(a = 1, b = 1.5, c = .7, d = 2)[stratum] + 4 * treated, 2)
rows <- data.frame(stratum, treated, amount)
standard <- function(to) {
  member <- switch(to, all = rep(1, n), treated = treated, untreated = 1 - treated)
  share <- tapply(member, stratum, sum) / sum(member)
  mean1 <- tapply(amount[treated == 1], stratum[treated == 1], mean)
  mean0 <- tapply(amount[treated == 0], stratum[treated == 0], mean)
  v1 <- tapply(amount[treated == 1], stratum[treated == 1], var) / table(stratum[treated == 1])
  v0 <- tapply(amount[treated == 0], stratum[treated == 0], var) / table(stratum[treated == 0])
  gap <- mean1 - mean0
  # Multinomial shares: their covariance matrix in full.
  shares <- (diag(share) - outer(share, share)) / sum(member)
  list(treated = sum(share * mean1), untreated = sum(share * mean0), difference = sum(share * gap),
       se = sqrt(sum(share^2 * (v1 + v0)) + c(gap %*% shares %*% gap)))
}
out$standard <- list(rows = rows, all = standard("all"), treated = standard("treated"), untreated = standard("untreated"))

# --- Inverse-probability weighting: stacked estimating equations with numerical derivatives ----------------------------
x <- round(rnorm(n), 3); segment <- sample(c("p", "q", "r"), n, TRUE)
did <- rbinom(n, 1, plogis(-.4 + .7 * x + .8 * (segment == "q")))
paid <- round(3 + 2 * did + x + 1.5 * (segment == "q") + rnorm(n), 3)
bought <- rbinom(n, 1, plogis(-.5 + .5 * did + .6 * x))
design <- model.matrix(~ x + segment)
fit <- glm(did ~ x + segment, binomial, control = glm.control(epsilon = 1e-14, maxit = 100))
weighted <- function(y, to, fixed) {
  equations <- function(theta) {                                # a row per user
    p <- c(plogis(design %*% theta[3:6]))
    w <- switch(to, all = ifelse(did == 1, 1 / p, 1 / (1 - p)), treated = ifelse(did == 1, 1, p / (1 - p)),
                untreated = ifelse(did == 1, (1 - p) / p, 1))
    cbind(did * w * (y - theta[1]), (1 - did) * w * (y - theta[2]), design * (did - p))
  }
  p <- fitted(fit)
  w <- switch(to, all = ifelse(did == 1, 1 / p, 1 / (1 - p)), treated = ifelse(did == 1, 1, p / (1 - p)),
              untreated = ifelse(did == 1, (1 - p) / p, 1))
  theta <- c(weighted.mean(y[did == 1], w[did == 1]), weighted.mean(y[did == 0], w[did == 0]), coef(fit))
  h <- 1e-5
  slope <- sapply(seq_along(theta), function(j) {
    step <- replace(numeric(6), j, h)
    colMeans(equations(theta + step) - equations(theta - step)) / (2 * h)
  })
  if (fixed) slope[1:2, 3:6] <- 0
  e <- equations(theta)
  covariance <- solve(slope) %*% (crossprod(e) / n) %*% t(solve(slope)) / n
  list(treated = theta[1], untreated = theta[2], covariance = covariance[1:2, 1:2])
}
both <- function(y) {
  of <- function(to) list(estimated = weighted(y, to, FALSE), fixed = weighted(y, to, TRUE))
  list(all = of("all"), treated = of("treated"), untreated = of("untreated"))
}
# The same by a linear model of the outcome with a product, predictions averaged; errors as above.
regressed <- function(to) {
  full <- cbind(design, did, x * did); colnames(full) <- NULL
  at <- function(flag) cbind(design, flag, x * flag)
  member <- switch(to, all = rep(1, n), treated = did, untreated = 1 - did)
  equations <- function(theta) {
    b <- theta[3:8]
    cbind(member * (at(1) %*% b - theta[1]), member * (at(0) %*% b - theta[2]), full * c(paid - full %*% b))
  }
  b <- unname(coef(lm(paid ~ full - 1)))
  theta <- c(weighted.mean(at(1) %*% b, member), weighted.mean(at(0) %*% b, member), b)
  h <- 1e-3
  slope <- sapply(seq_along(theta), function(j) {
    step <- replace(numeric(8), j, h)
    colMeans(equations(theta + step) - equations(theta - step)) / (2 * h)
  })
  e <- equations(theta)
  covariance <- solve(slope) %*% (crossprod(e) / n) %*% t(solve(slope)) / n
  list(treated = theta[1], untreated = theta[2], covariance = covariance[1:2, 1:2])
}
out$weighting <- list(rows = data.frame(x, segment, did, paid, bought), coef = unname(coef(fit)),
  coef_se = unname(sqrt(diag(vcov(fit)))), paid = both(paid), bought = both(bought),
  regression = list(all = regressed("all"), treated = regressed("treated"), untreated = regressed("untreated")))

# --- An experiment that nudges: two-stage least squares by lm, Anderson-Rubin sets by searching for where the test turns --
m <- 1500
arm <- sample(c("control", "banner", "mail"), m, TRUE, c(.4, .3, .3))
keen <- rbinom(m, 1, .3)
does <- rbinom(m, 1, plogis(-1.6 + 1.4 * keen + c(control = 0, banner = .35, mail = .9)[arm]))
buys <- rbinom(m, 1, plogis(-1.5 + .9 * does + 1.2 * keen))
cents <- buys * round(exp(rnorm(m, 8, .6)))
trial <- data.frame(arm, does, buys, cents)
statistic <- function(y, d, z, b) {                             # arms' means of y - b d, each with its own variance
  r <- y - b * d
  mean <- tapply(r, z, mean)
  v <- tapply(r, z, function(one) mean((one - mean(one))^2) / length(one))
  w <- 1 / v
  sum(w * (mean - sum(w * mean) / sum(w))^2)
}
turns <- function(y, d, z, level, from, to, steps = 4000) {
  critical <- qchisq(level, length(unique(z)) - 1)
  f <- function(b) statistic(y, d, z, b) - critical
  grid <- seq(from, to, length.out = steps); value <- sapply(grid, f)
  flips <- which(diff(sign(value)) != 0)
  list(roots = sapply(flips, function(i) uniroot(f, grid[i + 0:1], tol = 1e-14 * (to - from))$root),
       inside_first = unname(value[1] < 0))
}
iv <- function(y, d, z, level, from, to) {
  z <- factor(z)
  fitted_d <- fitted(lm(d ~ z))
  x <- cbind(1, fitted_d)
  b <- solve(crossprod(x, cbind(1, d)), crossprod(x, y))
  u <- c(y - cbind(1, d) %*% b)
  bread <- solve(crossprod(x))
  list(effect = b[2], se = sqrt((bread %*% crossprod(x * u) %*% bread)[2, 2]), level = level,
       f = statistic(d, rep(0, length(d)), z, 0) / (nlevels(z) - 1),
       p = pchisq(statistic(y, d, z, 0), nlevels(z) - 1, lower.tail = FALSE), set = turns(y, d, z, level, from, to))
}
odd <- ifelse(arm == "banner", 1 - buys, buys)                  # an arm that acts on the outcome by itself
few <- 220
two <- function(name) trial$arm %in% c("control", name)
with_two <- function(name, y, level, from, to) with(trial[two(name), ], iv(get(y), does, arm, level, from, to))
out$nudge <- list(rows = trial,
  all = iv(buys, does, arm, .95, -3, 3), all_money = iv(cents, does, arm, .95, -3e4, 3e4),
  mail = with_two("mail", "buys", .95, -3, 3), mail_money = with_two("mail", "cents", .95, -3e4, 3e4),
  banner = with_two("banner", "buys", .95, -3, 3),
  few = { kept <- two("banner") & seq_len(m) <= few             # a weak nudge: nothing is ruled out
    iv(buys[kept], does[kept], arm[kept], .95, -300, 300) },
  gap = { kept <- two("banner") & seq_len(m) <= few             # and an outcome on which the arm acts by itself
    iv(odd[kept], does[kept], arm[kept], .95, -300, 300) },
  few_users = few, odd = odd, empty = iv(odd, does, arm, .95, -300, 300))

# --- Shrinkage: BCG vaccine trials (Colditz and others 1994; Berkey and others 1995) -----------------------------------
bcg <- matrix(c(4,119,11,128, 6,300,29,274, 3,228,11,209, 62,13536,248,12619, 33,5036,47,5761, 180,1361,372,1079,
  8,2537,10,619, 505,87886,499,87892, 29,7470,45,7232, 17,1699,65,1600, 186,50448,141,27197, 5,2493,3,2338,
  27,16886,29,17825), ncol = 4, byrow = TRUE)
y <- log(bcg[, 1] / (bcg[, 1] + bcg[, 2])) - log(bcg[, 3] / (bcg[, 3] + bcg[, 4]))
v <- 1 / bcg[, 1] - 1 / (bcg[, 1] + bcg[, 2]) + 1 / bcg[, 3] - 1 / (bcg[, 3] + bcg[, 4])
k <- length(y)
projected <- function(t2) { s <- diag(1 / (v + t2)); s - s %*% rep(1, k) %*% t(rep(1, k)) %*% s / sum(s) }
restricted <- function(t2) .5 * (sum(log(v + t2)) + log(sum(1 / (v + t2))) + c(y %*% projected(t2) %*% y))
reml <- optimize(restricted, c(0, 5), tol = 1e-12)$minimum
score <- function(t2) { p <- projected(t2); sum(diag(p)) - c(y %*% p %*% p %*% y) }
reml <- uniroot(score, reml * c(.9, 1.1), tol = 1e-14)$root
q <- sum((y - weighted.mean(y, 1 / v))^2 / v)
dl <- (q - (k - 1)) / (sum(1 / v) - sum(1 / v^2) / sum(1 / v))
# Henderson's mixed-model equations: the common mean and each trial's own deviation, with their joint covariance.
mixed <- function(t2) {
  z <- cbind(1, diag(k))
  c_inv <- solve(t(z) %*% diag(1 / v) %*% z + diag(c(0, rep(1 / t2, k))))
  solution <- c(c_inv %*% t(z) %*% (y / v))
  list(tau2 = t2, mean = solution[1], mean_se = sqrt(c_inv[1, 1]), shrunk = c(z %*% solution),
       shrunk_se = sqrt(diag(z %*% c_inv %*% t(z))))
}
out$shrinkage <- list(y = y, se = sqrt(v), q = q, p = pchisq(q, k - 1, lower.tail = FALSE), reml = mixed(reml), dl = mixed(dl))

cat(toJSON(out, dataframe = "columns", digits = NA, auto_unbox = TRUE, pretty = FALSE), "\n")
